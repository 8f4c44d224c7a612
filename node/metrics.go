package node

import (
	"fmt"
	"io"
	"math/big"
	"net/http"
	"strings"
)

// MetricWriter writes Prometheus' text format, version 0.0.4.
type MetricWriter struct{ w io.Writer }

// Gauge writes one sample of a metric that goes up and down.
func (m *MetricWriter) Gauge(name, help string, value float64, labels ...string) {
	m.sample("gauge", name, help, value, labels)
}

// Counter writes one sample of a metric that only grows.
func (m *MetricWriter) Counter(name, help string, value float64, labels ...string) {
	m.sample("counter", name, help, value, labels)
}

var escape = strings.NewReplacer("\\", "\\\\", "\"", "\\\"", "\n", "\\n")

func (m *MetricWriter) sample(kind, name, help string, value float64, labels []string) {
	if help != "" {
		fmt.Fprintf(m.w, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
	}
	var l []string
	for i := 0; i+1 < len(labels); i += 2 {
		l = append(l, fmt.Sprintf(`%s="%s"`, labels[i], escape.Replace(labels[i+1])))
	}
	if l != nil {
		name += "{" + strings.Join(l, ",") + "}"
	}
	fmt.Fprintf(m.w, "%s %g\n", name, value)
}

// metrics answers GET /metrics.
func (g *Gateway) metrics(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	m := &MetricWriter{w}
	s := g.Stats()
	m.Counter("koinon_gateway_requests_total", "Requests received.", float64(s.Requests))
	m.Counter("koinon_gateway_answers_total", "Answers completed.", float64(s.Answers))
	m.Counter("koinon_gateway_failures_total", "Requests that ended in an error.", float64(s.Failures))
	m.Counter("koinon_gateway_cancelled_total", "Requests whose client went away.", float64(s.Cancelled))
	m.Counter("koinon_gateway_failovers_total", "Answers that needed more than one provider.", float64(s.Failovers))
	m.Counter("koinon_gateway_input_tokens_total", "Input tokens paid.", float64(s.Input))
	m.Counter("koinon_gateway_output_tokens_total", "Output tokens paid.", float64(s.Output))
	t := g.purse.Totals()
	for i, x := range []struct {
		name string
		v    *big.Int
	}{{"deposit", t.Deposit.Big()}, {"signed", t.Signed.Big()}, {"claimed", t.Claimed.Big()}, {"free", t.Free.Big()}} {
		help := ""
		if i == 0 {
			help = "Money in open channels, in koin."
		}
		f, _ := new(big.Float).Quo(new(big.Float).SetInt(x.v), big.NewFloat(1e18)).Float64()
		m.Gauge("koinon_gateway_channel_koin", help, f, "part", x.name)
	}
	if st, err := g.cfg.Chain.Status(r.Context()); err == nil {
		m.Gauge("koinon_chain_height", "Height of the last block seen.", float64(st.Height))
	}
	if g.cfg.Metrics != nil {
		g.cfg.Metrics(m)
	}
}
