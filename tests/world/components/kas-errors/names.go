package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// A resolver: names that begin with what is wrong with them get that, other names of example.com are this machine.
func startResolver() string {
	socket := must(net.ListenPacket("udp4", "127.0.0.1:0"))
	go func() {
		buffer := make([]byte, 1500)
		for {
			n, from, err := socket.ReadFrom(buffer)
			if err != nil {
				return
			}
			var query dnsmessage.Message
			if query.Unpack(buffer[:n]) != nil || len(query.Questions) != 1 {
				continue
			}
			if answer := answerTo(query); answer != nil {
				_, _ = socket.WriteTo(answer, from)
			}
		}
	}()
	return socket.LocalAddr().String()
}

func answerTo(query dnsmessage.Message) []byte {
	question := query.Questions[0]
	name := strings.ToLower(question.Name.String())
	answer := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: query.ID, Response: true, RecursionAvailable: true},
		Questions: query.Questions,
	}
	ours := strings.HasSuffix(name, ".example.com.") && strings.Count(name, ".") == 3
	switch {
	case strings.HasPrefix(name, "silent."):
		return nil
	case strings.HasPrefix(name, "servfail."):
		answer.RCode = dnsmessage.RCodeServerFailure
	case strings.HasPrefix(name, "garbage."):
		return []byte("not an answer")
	case !ours || strings.HasPrefix(name, "absent."):
		answer.RCode = dnsmessage.RCodeNameError
	case question.Type == dnsmessage.TypeA && !strings.HasPrefix(name, "empty."):
		answer.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: question.Name, Class: dnsmessage.ClassINET, TTL: 60},
			Body:   &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}},
		}}
	}
	return must(answer.Pack())
}

// Both net/http and gRPC resolve by the default resolver.
func useResolver(address string) {
	net.DefaultResolver.PreferGo = true
	net.DefaultResolver.StrictErrors = true
	net.DefaultResolver.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
		var dialer net.Dialer
		return dialer.DialContext(ctx, "udp4", address)
	}
}

// A proxy that answers CONNECT by the first label of the host.
func startProxy() string {
	listener := must(net.Listen("tcp4", "127.0.0.1:0"))
	go func() {
		_ = http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			label, _, _ := strings.Cut(r.Host, ".")
			statuses := map[string]int{"forbidden": 403, "sign-in": 407, "bad-gateway": 502, "unavailable": 503, "too-many": 429, "not-found": 404, "no-connect": 405}
			if status, known := statuses[label]; known {
				http.Error(w, http.StatusText(status), status)
				return
			}
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			if label == "garbage" {
				_, _ = io.WriteString(conn, "SSH-2.0-OpenSSH_9.9\r\n")
			}
			conn.Close()
		}))
	}()
	return "http://" + listener.Addr().String()
}
