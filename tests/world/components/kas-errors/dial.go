package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/emptypb"
)

// A method of kas; which one does not matter, because none is reached.
const method = "/gitlab.agent.agent_registrar.rpc.AgentRegistrar/Register"

type options struct {
	// What the dialer does instead of connecting, for errors that only a kernel with such routes makes.
	connect error
	// Time-outs in place of agentk's, which are 10 to 30 seconds.
	connectWithin, handshakeWithin, responseWithin time.Duration
	// Time-out of the call itself.
	callWithin time.Duration
	// Trusts no authority but the system's.
	distrusts bool
	// What the certificate is compared with.
	serverName string
	// Reads a stream, as GetConfiguration does, in place of one call.
	stream bool
	// A proxy in place of the environment's.
	proxy string
}

func or(given, usual time.Duration) time.Duration {
	if given != 0 {
		return given
	}
	return usual
}

func call(ctx context.Context, address string, o options) error {
	u, err := url.Parse(address)
	if err != nil {
		return err
	}
	if o.callWithin != 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.callWithin)
		defer cancel()
	}
	config := &tls.Config{RootCAs: trusted, ServerName: o.serverName, MinVersion: tls.VersionTLS12}
	if o.distrusts {
		config.RootCAs = nil
	}
	target, dialing, err := transport(u, address, config, o)
	if err != nil {
		return err
	}
	conn, err := grpc.NewClient(target, dialing...)
	if err != nil {
		return err
	}
	defer conn.Close()
	if o.stream {
		return stream(ctx, conn)
	}
	return conn.Invoke(ctx, method, &emptypb.Empty{}, &emptypb.Empty{})
}

// As GetConfiguration does: the error comes when the stream is read.
func stream(ctx context.Context, conn *grpc.ClientConn) error {
	s, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, method)
	if err != nil {
		return err
	}
	if err := s.SendMsg(&emptypb.Empty{}); err != nil {
		return s.RecvMsg(&emptypb.Empty{})
	}
	_ = s.CloseSend()
	for {
		if err := s.RecvMsg(&emptypb.Empty{}); err != nil {
			return err
		}
	}
}

func transport(u *url.URL, address string, config *tls.Config, o options) (string, []grpc.DialOption, error) {
	switch u.Scheme {
	case "ws", "wss":
		return "passthrough:" + address, []grpc.DialOption{
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(tunnel(config, o)),
		}, nil
	case "grpc":
		return "dns:" + u.Host, []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}, nil
	case "grpcs":
		return "dns:" + u.Host, []grpc.DialOption{grpc.WithTransportCredentials(credentials.NewTLS(config))}, nil
	}
	return "", nil, fmt.Errorf("unsupported scheme in GitLab Kubernetes Agent Server address: %q", u.Scheme)
}

func tunnel(config *tls.Config, o options) func(context.Context, string) (net.Conn, error) {
	dialer := net.Dialer{Timeout: or(o.connectWithin, 30*time.Second)}
	connect := dialer.DialContext
	if o.connect != nil {
		connect = func(_ context.Context, network, address string) (net.Conn, error) {
			remote := &net.TCPAddr{IP: net.IPv4(10, 0, 0, 9), Port: 443}
			return nil, &net.OpError{Op: "dial", Net: network, Addr: remote, Err: o.connect}
		}
	}
	proxy := http.ProxyFromEnvironment
	if o.proxy != "" {
		proxy = http.ProxyURL(must(url.Parse(o.proxy)))
	}
	client := &http.Client{
		Transport: &http.Transport{
			Proxy:                 proxy,
			DialContext:           connect,
			TLSClientConfig:       config,
			TLSHandshakeTimeout:   or(o.handshakeWithin, 10*time.Second),
			ResponseHeaderTimeout: or(o.responseWithin, 20*time.Second),
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return func(ctx context.Context, address string) (net.Conn, error) {
		conn, _, err := websocket.Dial(ctx, address, &websocket.DialOptions{
			HTTPClient: client, CompressionMode: websocket.CompressionDisabled,
		})
		if err != nil {
			return nil, err
		}
		return websocket.NetConn(context.Background(), conn, websocket.MessageBinary), nil
	}
}
