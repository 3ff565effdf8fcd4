// Dials as agentk dials kas, with the libraries that agentk uses, against listeners that misbehave each in its way, and
// prints what agentk would log: one line of JSON per situation, with the line in both forms of log/slog.
//
// How agentk dials (its command's kasConnection): ws and wss through a WebSocket whose HTTP client has a time-out for
// the connection, the TLS handshake and the response, follows no redirect and takes the proxy of the environment; grpc and
// grpcs by gRPC's own dialer and its DNS resolver. Ports, times and the resolver's address differ from run to run and are
// replaced by fixed ones.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"sort"
	"strings"
	"sync"
	"time"
)

const register = "Failed to register agent pod. Please make sure the agent version matches the server version"

type situation struct {
	// What is wrong, in words.
	name string
	// The address that agentk is given; %d is the listener's port.
	url string
	// The server, started by start; nil where there is none to reach.
	serve func() (port int)
	// Options of the dialer.
	dial options
}

type line struct {
	Situation string `json:"situation"`
	JSON      string `json:"json"`
	Text      string `json:"text"`
}

// What differs from run to run, with what stands in its place.
var unstable = []struct {
	what *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`(127\.0\.0\.1|\[::1\]):\d+->(127\.0\.0\.1|\[::1\]):\d+`), "10.0.0.8:41000->10.0.0.9:443"},
	{regexp.MustCompile(`(127\.0\.0\.1|\[::1\]):\d+`), "10.0.0.9:443"},
	{regexp.MustCompile(`(example\.(?:com|net)):\d+`), "$1:443"},
	{regexp.MustCompile(` on [0-9a-fA-F.:\[\]%]+:53`), " on 10.96.0.10:53"},
	{regexp.MustCompile(`current time \S+ is`), "current time 2026-01-10T00:00:00Z is"},
	{regexp.MustCompile(`(before|after) \d{4}-\d\d-\d\dT\S+Z`), "$1 2026-01-09T00:00:00Z"},
	{regexp.MustCompile(`date: [^\r\n"\\]+ GMT`), "date: Sat, 10 Jan 2026 00:00:00 GMT"},
	{regexp.MustCompile(`Date: [^\r\n"\\]+ GMT`), "Date: Sat, 10 Jan 2026 00:00:00 GMT"},
	{regexp.MustCompile(`Accept "[^"]*", key "[^"]*"`), `Accept "…", key "…"`},
	{regexp.MustCompile(`Accept \\"[^"]*\\", key \\"[^"]*\\"`), `Accept \"…\", key \"…\"`},
}

func stable(text string) string {
	for _, part := range unstable {
		text = part.what.ReplaceAllString(text, part.with)
	}
	return text
}

func logged(err error) (string, string) {
	var asJSON, asText bytes.Buffer
	fixed := &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Time(slog.TimeKey, time.Date(2026, 1, 10, 0, 0, 0, 0, time.UTC))
		}
		return a
	}}
	// As one string: an error's own fields must not get into the log.
	attributes := []any{"mod_name", "agent_registrar", "error", stable(err.Error())}
	slog.New(slog.NewJSONHandler(&asJSON, fixed)).Error(register, attributes...)
	slog.New(slog.NewTextHandler(&asText, fixed)).Error(register, attributes...)
	return strings.TrimSpace(asJSON.String()), strings.TrimSpace(asText.String())
}

func main() {
	names := startResolver()
	useResolver(names)
	proxy := startProxy()
	// Everything in example.net is reached through the proxy; read once by both libraries.
	for name, value := range map[string]string{"HTTPS_PROXY": proxy, "HTTP_PROXY": proxy, "NO_PROXY": "example.com,127.0.0.1"} {
		os.Setenv(name, value)
	}
	makeCertificates()

	lines := make([]line, len(situations()))
	var group sync.WaitGroup
	for i, s := range situations() {
		group.Go(func() {
			url := s.url
			if s.serve != nil {
				url = fmt.Sprintf(s.url, s.serve())
			}
			ctx, cancel := context.WithTimeout(context.Background(), 45*time.Second)
			defer cancel()
			err := call(ctx, url, s.dial)
			if err == nil {
				err = fmt.Errorf("no error: %s", s.name)
			}
			lines[i].Situation = s.name
			lines[i].JSON, lines[i].Text = logged(err)
		})
	}
	group.Wait()
	sort.SliceStable(lines, func(a, b int) bool { return lines[a].Situation < lines[b].Situation })
	out := json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	for _, l := range lines {
		if err := out.Encode(l); err != nil {
			panic(err)
		}
	}
}
