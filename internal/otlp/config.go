package otlp

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// Config says where spans go.
type Config struct {
	// URL is that of the collector's traces; "" is nowhere.
	URL string
	// Headers go with each request; they may be secret.
	Headers http.Header
	// Timeout is that of one request; 0 is 10 s.
	Timeout time.Duration
}

// ConfigOf joins what berth.toml names as the collector with the variables that
// OpenTelemetry defines (specification, "OpenTelemetry Protocol Exporter"), which win:
// OTEL_EXPORTER_OTLP_TRACES_ENDPOINT as it is, OTEL_EXPORTER_OTLP_ENDPOINT with
// /v1/traces behind it, as with the one of berth.toml, OTEL_EXPORTER_OTLP_[TRACES_]HEADERS,
// OTEL_SDK_DISABLED, OTEL_TRACES_EXPORTER=none. Errors do not quote headers.
func ConfigOf(endpoint string, env func(string) string) (Config, error) {
	if strings.EqualFold(env("OTEL_SDK_DISABLED"), "true") || env("OTEL_TRACES_EXPORTER") == "none" {
		return Config{}, nil
	}
	from, text := "[telemetry] otlp_endpoint of berth.toml", endpoint
	if base := env("OTEL_EXPORTER_OTLP_ENDPOINT"); base != "" {
		from, text = "OTEL_EXPORTER_OTLP_ENDPOINT", base
	}
	whole := env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
	if whole != "" {
		from, text = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", whole
	}
	if text == "" {
		return Config{}, nil
	}
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil {
		return Config{}, fmt.Errorf("%s is not a URL such as http://127.0.0.1:4318", from)
	}
	if whole == "" {
		u = u.JoinPath("v1", "traces")
	}
	headers, err := headersOf(env("OTEL_EXPORTER_OTLP_HEADERS"), env("OTEL_EXPORTER_OTLP_TRACES_HEADERS"))
	return Config{URL: u.String(), Headers: headers}, err
}

// headersOf reads "key=value,key=value", the values percent-encoded as in W3C Baggage;
// what a later text says wins.
func headersOf(texts ...string) (http.Header, error) {
	h := http.Header{}
	for _, text := range texts {
		for pair := range strings.SplitSeq(text, ",") {
			if strings.TrimSpace(pair) == "" {
				continue
			}
			key, value, ok := strings.Cut(pair, "=")
			decoded, err := url.PathUnescape(strings.TrimSpace(value))
			if key = strings.TrimSpace(key); !ok || err != nil || key == "" {
				return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_HEADERS is not of the form key=value,key=value")
			}
			h.Set(key, decoded)
		}
	}
	return h, nil
}

// Configured is ConfigOf with the variables of this process.
func Configured(endpoint string) (Config, error) { return ConfigOf(endpoint, os.Getenv) }
