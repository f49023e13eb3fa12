package bridge

import (
	"strings"
	"testing"

	"github.com/berth-run/berth/internal/jsonrpc"
)

func TestListen(t *testing.T) {
	f, err := ParseListen([]byte(`{"notifications":{"toolsListChanged":true,"promptsListChanged":false,"resourceSubscriptions":["a:\u002f/x","b:/d/"],"future":7}}`))
	if err != nil || !f.Tools || f.Prompts || f.Resources || strings.Join(f.URIs, " ") != "a://x b:/d/" || f.Empty() {
		t.Fatalf("%+v, %v", f, err)
	}
	for _, tt := range []struct {
		method, params string
		want           bool
	}{
		{"notifications/tools/list_changed", "", true},
		{"notifications/prompts/list_changed", "", false},
		{"notifications/resources/list_changed", "", false},
		{"notifications/resources/updated", `{"uri":"a://x"}`, true},
		{"notifications/resources/updated", `{"uri":"a://x/part"}`, true},
		{"notifications/resources/updated", `{"uri":"a://xy"}`, false},
		{"notifications/resources/updated", `{"uri":"b:/d/e"}`, true},
		{"notifications/resources/updated", `{}`, false},
		{"notifications/message", `{}`, false},
	} {
		if got := f.Passes(tt.method, raw(tt.params)); got != tt.want {
			t.Errorf("%s %s: %v", tt.method, tt.params, got)
		}
	}
	const subscription = `"s\"1"`
	if got, want := string(Acknowledged([]byte(subscription), f)), `{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"notifications":{"toolsListChanged":true,"resourceSubscriptions":["a://x","b:/d/"]},"_meta":{"io.modelcontextprotocol/subscriptionId":"s\"1"}}}`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if m, err := jsonrpc.Parse(Acknowledged([]byte("7"), Filter{})); err != nil || m.Kind != jsonrpc.Notification || string(m.Params) != `{"notifications":{},"_meta":{"io.modelcontextprotocol/subscriptionId":7}}` {
		t.Errorf("of nothing: %s, %v", m.Params, err)
	}
	if got, want := string(ListenParams(Filter{Prompts: true, Resources: true}, Client{})), `{"notifications":{"promptsListChanged":true,"resourcesListChanged":true},"_meta":{`+meta2026+`,`+metaCaps+`}}`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got, want := string(ListenResult([]byte("7"), Server{Info: []byte(info)})), `{"resultType":"complete","_meta":{"io.modelcontextprotocol/subscriptionId":7,"io.modelcontextprotocol/serverInfo":`+info+`}}`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestParseListenRefuses(t *testing.T) {
	for _, params := range []string{"", "{}", `{"notifications":[]}`, `{"notifications":null}`, `{"notifications":{"toolsListChanged":1}}`,
		`{"notifications":{"resourceSubscriptions":"x"}}`, `{"notifications":{"resourceSubscriptions":[1]}}`} {
		if f, err := ParseListen(raw(params)); err == nil || !strings.Contains(err.Error(), "notifications") {
			t.Errorf("%s: %+v, %v", params, f, err)
		}
	}
	if f, err := ParseListen([]byte(`{"notifications":{"resourceSubscriptions":null,"toolsListChanged":null}}`)); err != nil || !f.Empty() {
		t.Errorf("%+v, %v", f, err)
	}
}

func TestWithin(t *testing.T) {
	all := Filter{Tools: true, Prompts: true, Resources: true, URIs: []string{"u"}}
	for capabilities, want := range map[string]string{
		"": `{}`,
		`{"tools":{},"prompts":{"listChanged":true}}`:                   `{"promptsListChanged":true}`,
		`{"resources":{"subscribe":true},"tools":{"listChanged":true}}`: `{"toolsListChanged":true,"resourceSubscriptions":["u"]}`,
		`{"resources":{"listChanged":true}}`:                            `{"resourcesListChanged":true}`,
	} {
		if got := appendFilter(nil, all.Within(raw(capabilities))); string(got) != want {
			t.Errorf("%s: %s", capabilities, got)
		}
	}
}

func TestTag(t *testing.T) {
	for _, tt := range []struct{ params, tagged string }{
		{"", `{"_meta":{"io.modelcontextprotocol/subscriptionId":9007199254740993}}`},
		{`{"uri":"u","_meta":{"a":1}}`, `{"uri":"u","_meta":{"a":1,"io.modelcontextprotocol/subscriptionId":9007199254740993}}`},
		{`{"_meta":{"io.modelcontextprotocol/subscriptionId":"theirs"}}`, `{"_meta":{"io.modelcontextprotocol/subscriptionId":9007199254740993}}`},
	} {
		got := Tag(raw(tt.params), []byte("9007199254740993"))
		if string(got) != tt.tagged || string(Subscription(got)) != "9007199254740993" {
			t.Errorf("%s: %s", tt.params, got)
		}
	}
	if got := Untag([]byte(`{"uri":"u","_meta":{"io.modelcontextprotocol/subscriptionId":1}}`)); string(got) != `{"uri":"u"}` {
		t.Errorf("untagged: %s", got)
	}
	if got := Subscription([]byte(`{"uri":"u"}`)); got != nil {
		t.Errorf("of nothing: %s", got)
	}
}
