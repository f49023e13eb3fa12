package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/metrics"
)

const (
	// topWindow is of how long the calls are shown.
	topWindow = time.Minute
	// topCalls is how many of the latest are.
	topCalls = 20
)

// topView is what berth top shows.
type topView struct {
	Time          time.Time   `json:"time"`
	WindowSeconds int         `json:"windowSeconds"`
	Gateway       *topGateway `json:"gateway,omitempty"` // nil: none runs
	Servers       []topServer `json:"servers"`
	Clients       []topClient `json:"clients"`
	Calls         []topCall   `json:"calls"` // the latest first
}

type topGateway struct {
	Connections int `json:"connections"`
	Sessions    int `json:"sessions"`
	Streams     int `json:"streams"`
	ParkedCalls int `json:"parkedCalls"`
	SpoolBytes  int `json:"spoolBytes"`
}

// topLoad is what the calls of one amount to.
type topLoad struct {
	Calls     int   `json:"calls"`
	Failed    int   `json:"failed"`
	Denied    int   `json:"denied"`
	P50Micros int64 `json:"p50Micros"`
	P95Micros int64 `json:"p95Micros"`
	took      []int64
}

type topServer struct {
	Name        string       `json:"name"`
	Phase       berth.Phase  `json:"phase"`
	PID         int          `json:"pid,omitzero"`
	MemoryBytes int64        `json:"memoryBytes,omitzero"`
	InFlight    *int         `json:"inFlight,omitempty"` // nil: no gateway says
	Waiting     *int         `json:"waiting,omitempty"`
	status      berth.Status // as it is
	topLoad
}

type topClient struct {
	Client string `json:"client"`
	topLoad
	LastServer string    `json:"lastServer"`
	LastTool   string    `json:"lastTool"`
	LastTime   time.Time `json:"lastTime"`
}

type topCall struct {
	Time    time.Time         `json:"time"`
	Server  string            `json:"server"`
	Tool    string            `json:"tool"`
	Client  string            `json:"client"`
	Outcome berth.CallOutcome `json:"outcome"`
	Denied  bool              `json:"denied,omitzero"`
	Micros  int64             `json:"micros"`
}

// callMicros is how long a call took in all.
func callMicros(c *berth.Call) int64 { return c.QueueMicros + c.StartMicros + c.RunMicros }

func (l *topLoad) add(rec berth.Record) {
	if rec.Action == berth.ActionToolCallDenied {
		l.Denied++
		return
	}
	l.Calls++
	if rec.Call.Outcome != berth.CallDone && rec.Call.Outcome != berth.CallAsks {
		l.Failed++
	}
	l.took = append(l.took, callMicros(rec.Call))
}

// sum works out the times.
func (l *topLoad) sum() {
	if len(l.took) == 0 {
		return
	}
	slices.Sort(l.took)
	of := func(percent int) int64 { return l.took[(len(l.took)*percent+99)/100-1] }
	l.P50Micros, l.P95Micros = of(50), of(95)
}

// top is the view of a time.
func (s *site) top(ctx context.Context, now time.Time, w *window) (topView, error) {
	rows, err := s.rows(ctx, nil)
	if err != nil {
		return topView{}, err
	}
	return topOf(now, rows, s.gatewayFigures(ctx), w.since(now.Add(-topWindow))), nil
}

// topOf puts the view together. Figures are nil where no gateway runs.
func topOf(now time.Time, rows []berth.Status, figures []metrics.Sample, calls []berth.Record) topView {
	v := topView{
		Time: now, WindowSeconds: int(topWindow / time.Second),
		Servers: []topServer{}, Clients: []topClient{}, Calls: []topCall{},
	}
	for _, st := range rows {
		v.Servers = append(v.Servers, topServer{Name: st.Name, Phase: st.Phase, PID: st.PID, MemoryBytes: int64(st.MemoryBytes), status: st})
	}
	clients := map[string]*topClient{}
	for _, rec := range calls {
		name := home.CallerName(*rec.Call)
		if clients[name] == nil {
			clients[name] = &topClient{Client: name}
		}
		c := clients[name]
		c.add(rec)
		c.LastServer, c.LastTool, c.LastTime = rec.Server, rec.Call.Tool, rec.Time
		if i := slices.IndexFunc(v.Servers, func(s topServer) bool { return s.Name == rec.Server }); i >= 0 {
			v.Servers[i].add(rec)
		}
	}
	for _, c := range clients {
		c.sum()
		v.Clients = append(v.Clients, *c)
	}
	for i := range v.Servers {
		v.Servers[i].sum()
	}
	for _, rec := range slices.Backward(calls) {
		if len(v.Calls) == topCalls {
			break
		}
		v.Calls = append(v.Calls, topCall{
			Time: rec.Time, Server: rec.Server, Tool: rec.Call.Tool, Client: home.CallerName(*rec.Call),
			Outcome: rec.Call.Outcome, Denied: rec.Action == berth.ActionToolCallDenied, Micros: callMicros(rec.Call),
		})
	}
	v.takeFigures(figures)
	// The busiest first, and those that do nothing by name.
	slices.SortStableFunc(v.Servers, func(a, b topServer) int { return cmp.Compare(b.Calls, a.Calls) })
	slices.SortFunc(v.Clients, func(a, b topClient) int {
		return cmp.Or(cmp.Compare(b.Calls, a.Calls), cmp.Compare(a.Client, b.Client))
	})
	return v
}

// takeFigures takes what only the gateway knows.
func (v *topView) takeFigures(figures []metrics.Sample) {
	if figures == nil {
		return
	}
	v.Gateway = &topGateway{}
	for _, f := range figures {
		n := int(f.Value)
		switch f.Name {
		case "berth_connections":
			v.Gateway.Connections = n
		case "berth_sessions":
			v.Gateway.Sessions = n
		case "berth_streams":
			v.Gateway.Streams += n
		case "berth_parked_calls":
			v.Gateway.ParkedCalls = n
		case "berth_spool_bytes":
			v.Gateway.SpoolBytes = n
		case "berth_requests_in_flight", "berth_requests_waiting":
			for i := range v.Servers {
				if v.Servers[i].Name != f.Labels["server"] {
					continue
				}
				if f.Name == "berth_requests_waiting" {
					v.Servers[i].Waiting = &n
				} else {
					v.Servers[i].InFlight = &n
				}
			}
		}
	}
}

// gatewayFigures are those of the home's gateway, nil if none runs or it does not say.
func (s *site) gatewayFigures(ctx context.Context) []metrics.Sample {
	path, err := s.home.ReadSocketPath(home.GatewaySocket)
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, topEvery)
	defer cancel()
	way := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		},
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://berth/metrics", nil)
	if err != nil {
		return nil
	}
	resp, err := way.RoundTrip(r)
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err != nil || resp.StatusCode != http.StatusOK {
		return nil
	}
	all, err := metrics.Parse(string(text))
	if err != nil {
		return nil
	}
	return all
}

// wide is a width, and a height, that cuts nothing off.
const wide = 1 << 20

// lines are the view for a terminal of that size.
func (v topView) lines(u *ui, width, height int) []string {
	head := v.Time.Local().Format(time.TimeOnly) + ", calls of the last minute"
	if g := v.Gateway; g == nil {
		head += "; no gateway runs"
	} else {
		head += fmt.Sprintf("; %s, %s, %s", counted(g.Connections, "connection"), counted(g.Sessions, "session"), counted(g.Streams, "stream"))
		if g.ParkedCalls > 0 {
			head += ", " + strconv.Itoa(g.ParkedCalls) + " parked"
		}
	}
	// A third of the height for each of the first two, as far as they need it.
	share := max(2, (height-4)/3)
	lines := append([]string{cut(head, width), ""}, v.serverTable().lines(u, width, share)...)
	lines = append(append(lines, ""), v.clientTable().lines(u, width, share)...)
	lines = append(append(lines, ""), v.callTable().lines(u, width, max(2, height-len(lines)-1))...)
	return lines[:min(len(lines), max(height, 1))]
}

func (v topView) serverTable() topTable {
	t := topTable{columns: []topColumn{
		{"SERVER", 0, false}, {"PHASE", 1, false}, {"UP", 6, true}, {"MEMORY", 5, true}, {"NOW", 4, true}, {"WAIT", 7, true},
		{"CALLS", 2, true}, {"FAILED", 3, true}, {"DENIED", 8, true}, {"P50", 4, true}, {"P95", 3, true},
	}}
	of := func(n *int) string {
		if n == nil {
			return "-"
		}
		return strconv.Itoa(*n)
	}
	for _, s := range v.Servers {
		t.row(phaseColour(s.Phase), 1, append([]string{
			s.Name, phaseText(s.status), upText(s.status, v.Time), sizeText(s.status.MemoryBytes), of(s.InFlight), of(s.Waiting),
		}, s.cells()...)...)
	}
	return t
}

func (v topView) clientTable() topTable {
	t := topTable{columns: []topColumn{
		{"CLIENT", 0, false}, {"CALLS", 1, true}, {"FAILED", 3, true}, {"DENIED", 6, true}, {"P50", 5, true}, {"P95", 4, true}, {"LAST", 2, false},
	}}
	for _, c := range v.Clients {
		t.row(plain, 0, append(append([]string{c.Client}, c.cells()...), c.LastServer+" "+c.LastTool)...)
	}
	return t
}

func (v topView) callTable() topTable {
	t := topTable{columns: []topColumn{
		{"TIME", 3, false}, {"SERVER", 1, false}, {"TOOL", 0, false}, {"CLIENT", 4, false}, {"TOOK", 2, true}, {"OUTCOME", 1, false},
	}}
	for _, c := range v.Calls {
		outcome, colour := string(c.Outcome), red
		switch {
		case c.Denied:
			outcome = "denied"
		case c.Outcome == berth.CallDone:
			colour = green
		case c.Outcome == berth.CallAsks:
			colour = yellow
		}
		t.row(colour, 5, c.Time.Local().Format(time.TimeOnly), c.Server, c.Tool, c.Client, microsText(c.Micros), outcome)
	}
	return t
}

// cells are the columns of what the calls amount to.
func (l topLoad) cells() []string {
	p50, p95 := "-", "-"
	if l.Calls > 0 {
		p50, p95 = microsText(l.P50Micros), microsText(l.P95Micros)
	}
	return []string{strconv.Itoa(l.Calls), strconv.Itoa(l.Failed), strconv.Itoa(l.Denied), p50, p95}
}

func microsText(n int64) string {
	d := time.Duration(n) * time.Microsecond
	switch {
	case d >= 10*time.Second:
		return d.Round(time.Second).String()
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	}
	return d.Round(100 * time.Microsecond).String()
}
