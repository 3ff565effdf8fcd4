package main

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
)

const (
	ws        = "ws://kas.example.com:%d/-/kubernetes-agent/"
	wss       = "wss://kas.example.com:%d/-/kubernetes-agent/"
	plainGRPC = "grpc://kas.example.com:%d"
	grpcs     = "grpcs://kas.example.com:%d"
)

func oldTLS(c *tls.Config) { c.MaxVersion = tls.VersionTLS11 }

func noCipher(c *tls.Config) {
	c.MaxVersion = tls.VersionTLS12
	c.CipherSuites = []uint16{tls.TLS_RSA_WITH_RC4_128_SHA}
}

func wantsClient(version uint16) func(*tls.Config) {
	return func(c *tls.Config) {
		c.ClientAuth = tls.RequireAnyClientCert
		c.MaxVersion = version
		c.NextProtos = []string{"h2", "http/1.1"}
	}
}

func strangeName(c *tls.Config) {
	c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, nil }
	c.Certificates = nil
}

func otherName(c *x509.Certificate)   { c.DNSNames = []string{"other.example.com"} }
func onlyCommon(c *x509.Certificate)  { c.DNSNames = nil }
func expired(c *x509.Certificate)     { c.NotAfter = time.Now().Add(-time.Minute) }
func notYetValid(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }
func onlyClient(c *x509.Certificate) {
	c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
}

func system(errno syscall.Errno) error { return os.NewSyscallError("connect", errno) }

func situations() []situation {
	all := []situation{
		// The name.
		{name: "wss: name not found", url: "wss://absent.example.com/-/kubernetes-agent/"},
		{name: "wss: name without address", url: "wss://empty.example.com/-/kubernetes-agent/"},
		{name: "wss: resolver fails", url: "wss://servfail.example.com/-/kubernetes-agent/"},
		{name: "wss: resolver is silent", url: "wss://silent.example.com/-/kubernetes-agent/"},
		{name: "grpc: name not found", url: "grpc://absent.example.com:8150"},
		{name: "grpc: name without address", url: "grpc://empty.example.com:8150"},
		{name: "grpc: resolver fails", url: "grpc://servfail.example.com:8150"},
		{name: "grpc: resolver is silent", url: "grpc://silent.example.com:8150"},

		// The connection.
		{name: "wss: refused", url: wss, serve: nobody},
		{name: "grpc: refused", url: plainGRPC, serve: nobody},
		{name: "wss: no route", url: "wss://kas.example.com/-/kubernetes-agent/", dial: options{connect: system(syscall.EHOSTUNREACH)}},
		{name: "wss: network unreachable", url: "wss://kas.example.com/-/kubernetes-agent/", dial: options{connect: system(syscall.ENETUNREACH)}},
		{name: "wss: no permission", url: "wss://kas.example.com/-/kubernetes-agent/", dial: options{connect: system(syscall.EPERM)}},
		{name: "wss: connection times out in the kernel", url: "wss://kas.example.com/-/kubernetes-agent/", dial: options{connect: system(syscall.ETIMEDOUT)}},
		{name: "wss: connection times out", url: "wss://127.0.0.1:%d/-/kubernetes-agent/", serve: each(silent), dial: options{connectWithin: 1}},

		// Before and in the TLS handshake.
		{name: "wss: closed before the handshake", url: wss, serve: each(closes)},
		{name: "wss: reset before the handshake", url: wss, serve: each(resets)},
		{name: "wss: silent in the handshake", url: wss, serve: each(silent), dial: options{handshakeWithin: time.Second}},
		{name: "grpcs: closed before the handshake", url: grpcs, serve: each(closes)},
		{name: "grpcs: reset before the handshake", url: grpcs, serve: each(resets)},
		{name: "grpcs: silent in the handshake", url: grpcs, serve: each(silent), dial: options{callWithin: time.Second}},
		{name: "wss: old TLS", url: wss, serve: each(secured(oldTLS, closes))},
		{name: "grpcs: old TLS", url: grpcs, serve: each(secured(oldTLS, closes))},
		{name: "wss: no cipher in common", url: wss, serve: each(secured(noCipher, closes))},
		{name: "wss: server knows no such name", url: wss, serve: each(secured(strangeName, closes))},
		{name: "wss: client certificate wanted (TLS 1.2)", url: wss, serve: each(secured(wantsClient(tls.VersionTLS12), closes))},
		{name: "wss: client certificate wanted (TLS 1.3)", url: wss, serve: each(secured(wantsClient(tls.VersionTLS13), closes))},
		{name: "grpcs: client certificate wanted (TLS 1.2)", url: grpcs, serve: each(secured(wantsClient(tls.VersionTLS12), closes))},
		{name: "grpcs: client certificate wanted (TLS 1.3)", url: grpcs, serve: each(secured(wantsClient(tls.VersionTLS13), closes))},
		{name: "grpcs: server without ALPN", url: grpcs, serve: each(secured(plain, closes))},

		// The certificate.
		{name: "wss: unknown authority", url: wss, serve: each(secured(plain, closes)), dial: options{distrusts: true}},
		{name: "wss: other name", url: wss, serve: each(secured(holds(otherName), closes))},
		{name: "wss: only a common name", url: wss, serve: each(secured(holds(onlyCommon), closes))},
		{name: "wss: address without a name", url: "wss://127.0.0.1:%d/-/kubernetes-agent/", serve: each(secured(plain, closes))},
		{name: "wss: expired", url: wss, serve: each(secured(holds(expired), closes))},
		{name: "wss: not yet valid", url: wss, serve: each(secured(holds(notYetValid), closes))},
		{name: "wss: certificate of a client", url: wss, serve: each(secured(holds(onlyClient), closes))},
		{name: "grpcs: unknown authority", url: grpcs, serve: each(secured(h2, closes)), dial: options{distrusts: true}},
		{name: "grpcs: other name", url: grpcs, serve: each(secured(holds(otherName), closes))},
		{name: "grpcs: expired", url: grpcs, serve: each(secured(holds(expired), closes))},

		// The scheme and the port do not fit.
		{name: "wss: plain HTTP at the port", url: wss, serve: httpServer(answers(http.StatusOK), false)},
		{name: "wss: neither TLS nor HTTP at the port", url: wss, serve: each(says("SSH-2.0-OpenSSH_9.9\r\n"))},
		{name: "wss: gRPC with TLS at the port", url: wss, serve: kas(nil, true)},
		{name: "wss: plain gRPC at the port", url: wss, serve: kas(nil, false)},
		{name: "ws: TLS at the port", url: ws, serve: httpServer(answers(http.StatusOK), true)},
		{name: "ws: TLS without HTTP at the port", url: ws, serve: each(says("\x15\x03\x01\x00\x02\x02\x50"))},
		{name: "ws: gRPC at the port", url: ws, serve: kas(nil, false)},
		{name: "grpc: HTTP at the port", url: plainGRPC, serve: httpServer(answers(http.StatusNotFound), false)},
		{name: "grpc: TLS at the port", url: plainGRPC, serve: kas(nil, true)},
		{name: "grpc: neither TLS nor HTTP at the port", url: plainGRPC, serve: each(says("SSH-2.0-OpenSSH_9.9\r\n"))},
		{name: "grpcs: plain gRPC at the port", url: grpcs, serve: kas(nil, false)},
		{name: "grpcs: plain HTTP at the port", url: grpcs, serve: httpServer(answers(http.StatusOK), false)},
		{name: "https: unsupported scheme", url: "https://kas.example.com/"},

		// A proxy of the environment.
		{name: "wss: proxy refuses", url: "wss://forbidden.example.net/-/kubernetes-agent/"},
		{name: "wss: proxy wants a sign-in", url: "wss://sign-in.example.net/-/kubernetes-agent/"},
		{name: "wss: proxy does not reach it", url: "wss://bad-gateway.example.net/-/kubernetes-agent/"},
		{name: "wss: proxy is unavailable", url: "wss://unavailable.example.net/-/kubernetes-agent/"},
		{name: "wss: proxy has no CONNECT", url: "wss://no-connect.example.net/-/kubernetes-agent/"},
		{name: "wss: proxy does not listen", url: wss, serve: nobody, dial: options{proxy: "http://127.0.0.1:1"}},
		{name: "wss: proxy not found", url: "wss://kas.example.com/-/kubernetes-agent/", dial: options{proxy: "http://absent.example.com:3128"}},
		{name: "wss: proxy closes", url: "wss://closes.example.net/-/kubernetes-agent/"},
		{name: "wss: proxy is none", url: "wss://garbage.example.net/-/kubernetes-agent/"},
		{name: "grpcs: proxy refuses", url: "grpcs://forbidden.example.net:443"},
		{name: "grpcs: proxy wants a sign-in", url: "grpcs://sign-in.example.net:443"},
		{name: "grpcs: proxy closes", url: "grpcs://closes.example.net:443"},

		// After the TLS handshake.
		{name: "wss: closed after the handshake", url: wss, serve: each(secured(plain, closes))},
		{name: "wss: reset after the handshake", url: wss, serve: each(resetsBelow)},
		{name: "wss: silent after the handshake", url: wss, serve: each(secured(plain, silent)), dial: options{responseWithin: time.Second}},
		{name: "grpcs: closed after the handshake", url: grpcs, serve: each(secured(h2, closes))},
		{name: "grpcs: reset after the handshake", url: grpcs, serve: each(resetsBelow)},
		{name: "grpc: closed before the preface", url: plainGRPC, serve: each(closes)},
		{name: "grpc: reset before the preface", url: plainGRPC, serve: each(resets)},
		{name: "grpc: silent", url: plainGRPC, serve: each(silent), dial: options{callWithin: time.Second}},

		// The WebSocket handshake.
		{name: "wss: not upgraded", url: wss, serve: each(secured(plain, upgrades("")))},
		{name: "wss: wrong upgrade", url: wss, serve: each(secured(plain, upgrades("Connection: Upgrade\r\nUpgrade: h2c\r\n")))},
		{name: "wss: wrong key", url: wss, serve: each(secured(plain, upgrades("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n")))},
		{name: "wss: tunnel closed before the preface", url: wss, serve: httpServer(tunneled(func(c net.Conn) { c.Close() }), true)},
		{name: "wss: tunnel dropped before the preface", url: wss, serve: httpServer(dropped, true)},
		{name: "wss: tunnel ended by a policy", url: wss, serve: httpServer(ended(websocket.StatusPolicyViolation, "policy"), true)},
		{name: "wss: tunnel ended for a restart", url: wss, serve: httpServer(ended(websocket.StatusServiceRestart, "restart"), true)},
		{name: "wss: tunnel without gRPC", url: wss, serve: httpServer(tunneled(says("HTTP/1.1 200 OK\r\n\r\n")), true)},

		// What is not kas answers a call.
		{name: "grpcs: client certificate wanted by HTTP", url: grpcs, serve: httpServer(answers(496), true)},

		// What kas answers.
		{name: "kas: token refused", url: plainGRPC, serve: kas(refusal(codes.Unauthenticated, "unauthenticated"), false)},
		{name: "kas: unavailable", url: plainGRPC, serve: kas(refusal(codes.Unavailable, "unavailable"), false)},
		{name: "kas: rate limit", url: plainGRPC, serve: kas(refusal(codes.ResourceExhausted, "rate limit exceeded"), false)},
		{name: "kas: quota", url: plainGRPC, serve: kas(refusal(codes.ResourceExhausted, "too many connections"), false)},
		{name: "kas: call unknown", url: plainGRPC, serve: kas(nil, false)},
		{name: "kas: internal error", url: plainGRPC, serve: kas(refusal(codes.Internal, "internal error"), false)},
		{name: "kas: deadline", url: plainGRPC, serve: kas(refusal(codes.DeadlineExceeded, "context deadline exceeded"), false)},
		{name: "kas: too many pings", url: plainGRPC, serve: each(http2Server(goAway(http2.ErrCodeEnhanceYourCalm, "too_many_pings"))), dial: options{stream: true}},
		{name: "kas: token breaks the protocol", url: plainGRPC, serve: each(http2Server(resetStream(http2.ErrCodeProtocol)))},
		{name: "kas: call refused", url: plainGRPC, serve: each(http2Server(resetStream(http2.ErrCodeEnhanceYourCalm)))},
		{name: "kas: connection lost in a call", url: plainGRPC, serve: each(http2Server(hangsUp)), dial: options{stream: true}},
		{name: "kas: connection reset in a call", url: plainGRPC, serve: each(http2Server(func(_ *http2.Framer, c net.Conn, _ uint32) { resets(onlyTCP{c.(*net.TCPConn)}) })), dial: options{stream: true}},
		{name: "kas: no answer to a call", url: plainGRPC, serve: each(http2Server(func(_ *http2.Framer, c net.Conn, _ uint32) { silent(c) })), dial: options{callWithin: time.Second}},
	}
	for _, code := range []int{200, 301, 302, 308, 400, 401, 403, 404, 407, 421, 426, 429, 500, 502, 503, 504} {
		all = append(all, situation{name: "wss: answered " + http.StatusText(code), url: wss, serve: httpServer(answers(code), true)})
	}
	for _, code := range []int{200, 302, 400, 401, 403, 404, 429, 500, 502, 503, 504} {
		all = append(all, situation{name: "grpcs: answered " + http.StatusText(code), url: grpcs, serve: httpServer(answers(code), true)})
	}
	return all
}
