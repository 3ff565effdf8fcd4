package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
)

var (
	trusted *x509.CertPool
	good    tls.Certificate
	issue   func(change func(*x509.Certificate)) tls.Certificate
)

func makeCertificates() {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "example authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	made := must(x509.CreateCertificate(rand.Reader, authority, authority, key.Public(), key))
	trusted = x509.NewCertPool()
	trusted.AddCert(must(x509.ParseCertificate(made)))
	issue = func(change func(*x509.Certificate)) tls.Certificate {
		of := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
		template := &x509.Certificate{
			SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "kas.example.com"},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			DNSNames: []string{"kas.example.com"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		}
		change(template)
		der := must(x509.CreateCertificate(rand.Reader, template, authority, of.Public(), key))
		return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: of}
	}
	good = issue(func(*x509.Certificate) {})
}

type server = func() int

// A listener that does one thing with each connection.
func each(do func(net.Conn)) server {
	return func() int {
		listener := must(net.Listen("tcp4", "127.0.0.1:0"))
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				go do(conn)
			}
		}()
		return listener.Addr().(*net.TCPAddr).Port
	}
}

// A port at which nobody listens.
func nobody() int {
	listener := must(net.Listen("tcp4", "127.0.0.1:0"))
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

// Reads once, so that the other side has sent its greeting before the end.
func heard(conn net.Conn) {
	_, _ = conn.Read(make([]byte, 4096))
}

func closes(conn net.Conn) {
	heard(conn)
	conn.Close()
}

func resets(conn net.Conn) {
	heard(conn)
	if tcp, ok := conn.(interface{ SetLinger(int) error }); ok {
		_ = tcp.SetLinger(0)
	}
	conn.Close()
}

func silent(conn net.Conn) {
	_, _ = io.Copy(io.Discard, conn)
}

func says(text string) func(net.Conn) {
	return func(conn net.Conn) {
		heard(conn)
		_, _ = io.WriteString(conn, text)
		time.Sleep(100 * time.Millisecond)
		conn.Close()
	}
}

// The same behind TLS.
func secured(change func(*tls.Config), do func(net.Conn)) func(net.Conn) {
	return func(raw net.Conn) {
		config := &tls.Config{Certificates: []tls.Certificate{good}, MinVersion: tls.VersionTLS10}
		change(config)
		conn := tls.Server(raw, config)
		if conn.Handshake() != nil {
			// The alert was sent; the other side reads it before the end of the connection.
			silent(raw)
			raw.Close()
			return
		}
		do(conn)
	}
}

func plain(*tls.Config) {}

func h2(c *tls.Config) { c.NextProtos = []string{"h2"} }

func holds(change func(*x509.Certificate)) func(*tls.Config) {
	return func(c *tls.Config) {
		c.NextProtos = []string{"h2", "http/1.1"}
		c.Certificates = []tls.Certificate{issue(change)}
	}
}

func resetsBelow(raw net.Conn) {
	conn := tls.Server(raw, &tls.Config{Certificates: []tls.Certificate{good}, NextProtos: []string{"h2", "http/1.1"}})
	_ = conn.Handshake()
	heard(conn)
	resets(onlyTCP{raw.(*net.TCPConn)})
}

// Does not wait for more to read.
type onlyTCP struct{ *net.TCPConn }

func (onlyTCP) Read([]byte) (int, error) { return 0, io.EOF }

func httpServer(handler http.HandlerFunc, secure bool) server {
	return func() int {
		listener := must(net.Listen("tcp4", "127.0.0.1:0"))
		s := &http.Server{Handler: handler, ErrorLog: log.New(io.Discard, "", 0)}
		if secure {
			s.TLSConfig = &tls.Config{Certificates: []tls.Certificate{good}}
			go func() { _ = s.ServeTLS(listener, "", "") }()
		} else {
			go func() { _ = s.Serve(listener) }()
		}
		return listener.Addr().(*net.TCPAddr).Port
	}
}

func answers(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		if status/100 == 3 {
			w.Header().Set("Location", "https://gitlab.example.com/users/sign_in")
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, "<html>"+http.StatusText(status)+"</html>")
	}
}

// Accepts the WebSocket and goes on below it.
func tunneled(do func(net.Conn)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		do(websocket.NetConn(context.Background(), conn, websocket.MessageBinary))
	}
}

// Accepts the WebSocket and drops the connection below it.
func dropped(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	_, _, _ = conn.Read(r.Context())
	conn.CloseNow()
}

func ended(code websocket.StatusCode, reason string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		_, _, _ = conn.Read(r.Context())
		_ = conn.Close(code, reason)
	}
}

// Answers 101 with these headers.
func upgrades(headers string) func(net.Conn) {
	return says("HTTP/1.1 101 Switching Protocols\r\n" + headers + "\r\n")
}

// A gRPC server that answers every call so.
func kas(answer error, secure bool) server {
	return func() int {
		listener := must(net.Listen("tcp4", "127.0.0.1:0"))
		go func() { _ = kasServer(answer, secure).Serve(listener) }()
		return listener.Addr().(*net.TCPAddr).Port
	}
}

func kasServer(answer error, secure bool) *grpc.Server {
	options := []grpc.ServerOption{grpc.UnknownServiceHandler(func(any, grpc.ServerStream) error { return answer })}
	if answer == nil {
		options = nil
	}
	if secure {
		options = append(options, grpc.Creds(credentials.NewServerTLSFromCert(&good)))
	}
	return grpc.NewServer(options...)
}

func refusal(code codes.Code, text string) error { return status.Error(code, text) }

// Speaks HTTP/2 up to a call, then does this.
func http2Server(do func(*http2.Framer, net.Conn, uint32)) func(net.Conn) {
	return func(conn net.Conn) {
		preface := make([]byte, len(http2.ClientPreface))
		if _, err := io.ReadFull(conn, preface); err != nil {
			return
		}
		framer := http2.NewFramer(conn, conn)
		_ = framer.WriteSettings()
		for {
			frame, err := framer.ReadFrame()
			if err != nil {
				return
			}
			if headers, ok := frame.(*http2.HeadersFrame); ok {
				do(framer, conn, headers.StreamID)
				return
			}
		}
	}
}

// Ends the connection with the call's answer outstanding.
func goAway(code http2.ErrCode, text string) func(*http2.Framer, net.Conn, uint32) {
	return func(framer *http2.Framer, conn net.Conn, stream uint32) {
		_ = framer.WriteGoAway(stream, code, []byte(text))
		hangsUp(framer, conn, stream)
	}
}

// Sends the end, and takes what still comes: with data unread, the kernel would send a reset.
func hangsUp(_ *http2.Framer, conn net.Conn, _ uint32) {
	_ = conn.(*net.TCPConn).CloseWrite()
	silent(conn)
}

// Refuses as a server does that reads a header it may not take.
func resetStream(code http2.ErrCode) func(*http2.Framer, net.Conn, uint32) {
	return func(framer *http2.Framer, conn net.Conn, stream uint32) {
		_ = framer.WriteRSTStream(stream, code)
		silent(conn)
	}
}
