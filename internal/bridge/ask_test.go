package bridge

import (
	"net/http"
	"strings"
	"testing"

	"github.com/berth-run/berth/internal/jsonrpc"
)

func TestErrors(t *testing.T) {
	for _, tt := range []struct {
		name, method, e, modern string
		status                  int
	}{
		{"no such resource", "resources/read", `{"code":-32002,"message":"no","data":{"uri":"x"}}`, `{"code":-32602,"message":"no","data":{"uri":"x"}}`, http.StatusBadRequest},
		{"no such method", "x", `{"code": -32601,"message":"no"}`, `{"code": -32601,"message":"no"}`, http.StatusNotFound},
		{"bad params", "x", `{"code":-32602,"message":"no"}`, `{"code":-32602,"message":"no"}`, http.StatusBadRequest},
		{"of its own", "x", `{"code":-31000,"message":"no","y":1}`, `{"code":-31000,"message":"no","y":1}`, http.StatusOK},
		{"internal", "x", `{"code":-32603,"message":"no"}`, `{"code":-32603,"message":"no"}`, http.StatusOK},
		{"a page", "tools/call", `{"code":-32042,"message":"sign in","data":{"elicitations":[]}}`, `{"code":-32602,"message":"the server wants a page to be opened first, which it cannot ask of this client: see data (sign in)","data":{"elicitations":[]}}`, http.StatusBadRequest},
		{"malformed", "x", `{"code":"x"}`, `{"code":"x"}`, http.StatusOK},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, status := ErrorToModern(tt.method, []byte(tt.e)); string(got) != tt.modern || status != tt.status {
				t.Errorf("got  %s, %d\nwant %s, %d", got, status, tt.modern, tt.status)
			}
		})
	}
	for _, tt := range []struct{ name, method, e, legacy string }{
		{"no such resource, by its data", "resources/read", `{"code":-32602,"message":"?","data":{"uri":"x"}}`, `{"code":-32002,"message":"?","data":{"uri":"x"}}`},
		{"no such resource, by its text", "resources/read", `{"code":-32602,"message":"Resource Not Found"}`, `{"code":-32002,"message":"Resource Not Found"}`},
		{"bad params", "resources/read", `{"code":-32602,"message":"uri is no string"}`, `{"code":-32602,"message":"uri is no string"}`},
		{"no such tool", "tools/call", `{"code":-32602,"message":"not found"}`, `{"code":-32602,"message":"not found"}`},
		{"capability", "tools/call", `{"code":-32021,"message":"no","data":{"requiredCapabilities":{}}}`, `{"code":-32602,"message":"no","data":{"requiredCapabilities":{}}}`},
		{"of its own", "x", `{"code":7,"message":"no"}`, `{"code":7,"message":"no"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := ErrorToLegacy(tt.method, []byte(tt.e)); string(got) != tt.legacy {
				t.Errorf("got  %s\nwant %s", got, tt.legacy)
			}
		})
	}
	for code, want := range map[int64]int{-32700: 400, -32600: 400, -32601: 404, -32602: 400, -32020: 400, -32021: 400, -32022: 400, -32603: 200, 1: 200} {
		if got := Status(code); got != want {
			t.Errorf("%d: %d", code, got)
		}
	}
}

func TestKeyOf(t *testing.T) {
	for _, tt := range []struct{ method, params, key string }{
		{"elicitation/create", `{"message":"m","requestedSchema":{"type":"object","properties":{"name":{"type":"string"}}}}`, "user_name"},
		{"elicitation/create", `{"mode":"form","requestedSchema":{"properties":{"n\u0061me":{}}}}`, "user_name"},
		{"elicitation/create", `{"requestedSchema":{"properties":{"a":{},"b":{}}}}`, "user_input"},
		{"elicitation/create", `{"requestedSchema":{"properties":{"":{},"a":{}}}}`, "user_input"},
		{"elicitation/create", `{"requestedSchema":{"properties":{"é":{}}}}`, "user_input"},
		{"elicitation/create", `{"requestedSchema":{"properties":{"` + strings.Repeat("a", 65) + `":{}}}}`, "user_input"},
		{"elicitation/create", `{"requestedSchema":{"properties":{}}}`, "user_input"},
		{"elicitation/create", `{"requestedSchema":7}`, "user_input"},
		{"elicitation/create", ``, "user_input"},
		{"elicitation/create", `{"mode":"url","url":"https://a","requestedSchema":{"properties":{"name":{}}}}`, "user_visit"},
		{"sampling/createMessage", `{}`, "model_reply"},
		{"roots/list", ``, "client_roots"},
		{"of an extension", `{}`, "input"},
	} {
		if got := KeyOf(tt.method, []byte(tt.params)); got != tt.key {
			t.Errorf("%s %s: %q, not %q", tt.method, tt.params, got, tt.key)
		}
	}
}

func TestAsksOf(t *testing.T) {
	asks, ok := AsksOf([]byte(`{"code":-32042,"message":"m","data":{"elicitations":[{"mode":"url","url":"https://a"},{"mode":"url","url":"https://b"}]}}`))
	if !ok || len(asks) != 2 || asks[1].Key != "url-2" || asks[1].Method != "elicitation/create" || string(asks[1].Params) != `{"mode":"url","url":"https://b"}` {
		t.Errorf("%v, %v", asks, ok)
	}
	for _, e := range []string{`{"code":-32042}`, `{"code":-32042,"data":{"elicitations":[]}}`, `{"code":-32042,"data":{"elicitations":[{"mode":"form"}]}}`, `{"code":-32602,"data":{"elicitations":[{"mode":"url"}]}}`, "7"} {
		if asks, ok := AsksOf([]byte(e)); ok {
			t.Errorf("%s: %v", e, asks)
		}
	}
}

func TestInputRequired(t *testing.T) {
	got := InputRequired([]Ask{
		{Key: "a\"", Method: "elicitation/create", Params: []byte(`{"message":"m","task":{},"_meta":{"progressToken":1},"n":1e400}`)},
		{Key: "b", Method: "roots/list"},
	}, "s\n")
	if want := `{"resultType":"input_required","inputRequests":{"a\"":{"method":"elicitation/create","params":{"message":"m","n":1e400}},"b":{"method":"roots/list","params":{}}},"requestState":"s\n"}`; string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := InputRequired(nil, "s"); string(got) != `{"resultType":"input_required","requestState":"s"}` {
		t.Errorf("without asks: %s", got)
	}
	asks, state, ok, err := ParseInputRequired(got)
	if !ok || err != nil || string(state) != `"s\n"` || len(asks) != 2 || asks[0].Key != `a"` || asks[1].Method != "roots/list" || string(asks[1].Params) != "{}" {
		t.Errorf("%v, %s, %v, %v", asks, state, ok, err)
	}
}

func TestParseInputRequired(t *testing.T) {
	for _, result := range []string{"{}", `{"resultType":"complete","inputRequests":{}}`, `{"inputRequests":{"a":{}}}`, `{"resultType":"task"}`} {
		if _, _, ok, err := ParseInputRequired([]byte(result)); ok || err != nil {
			t.Errorf("%s asks: %v", result, err)
		}
	}
	for result, why := range map[string]string{
		`{"resultType":"input_required"}`:                               "without saying which",
		`{"resultType":"input_required","inputRequests":[]}`:            "no object",
		`{"resultType":"input_required","inputRequests":null}`:          "no object",
		`{"resultType":"input_required","requestState":7}`:              "no string",
		`{"resultType":"input_required","inputRequests":{"a":{}}}`:      "without a method",
		`{"resultType":"input_required","inputRequests":{"a":"tools"}}`: "without a method",
	} {
		if asks, _, ok, err := ParseInputRequired([]byte(result)); !ok || err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v, %v, %v", result, asks, ok, err)
		}
	}
	asks, state, ok, err := ParseInputRequired([]byte(`{"resultType":"input_required","inputRequests":{"a":{"method":"x"},"b":{"method":"y","params":{}},"\u0061":{"method":"z"}}}`))
	if !ok || err != nil || state != nil || len(asks) != 2 || asks[0].Method != "z" || asks[1].Key != "b" {
		t.Errorf("%v, %s, %v, %v", asks, state, ok, err)
	}
}

func TestRetry(t *testing.T) {
	for _, tt := range []struct {
		name, params string
		answers      map[string][]byte
		state, want  string
	}{
		{"answers", `{"name":"t", "x":1e400}`, map[string][]byte{"b": []byte(`{"roots":[]}`), "a\"": []byte(`{"action":"accept"}`)}, `"s"`, `{"name":"t", "x":1e400,"inputResponses":{"a\"":{"action":"accept"},"b":{"roots":[]}},"requestState":"s"}`},
		{"the round after", `{"inputResponses":{"a":{}},"name":"t","requestState":"s"}`, map[string][]byte{"c": []byte(`{}`)}, "", `{"inputResponses":{"c":{}},"name":"t"}`},
		{"later", `{"name":"t"}`, nil, `"s"`, `{"name":"t","requestState":"s"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Retry([]byte(tt.params), tt.answers, raw(tt.state)); string(got) != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestAnswers(t *testing.T) {
	answers, state, ok := Answers([]byte(`{"inputResponses":{"a":{"n":9007199254740993},"b":12345,"c":{"x":1},"c":null},"requestState":"s\u0041"}`))
	if !ok || state != "sA" || len(answers) != 1 || string(answers["a"]) != `{"n":9007199254740993}` {
		t.Errorf("%s, %q, %v", answers, state, ok)
	}
	for params, want := range map[string]bool{
		`{"inputResponses":null}`: true, `{"requestState":7}`: true, `{"requestState":"s"}`: true, `{"name":"t"}`: false, "": false, "[]": false,
	} {
		if answers, _, ok := Answers(raw(params)); ok != want || len(answers) > 0 {
			t.Errorf("%s: %v, %v", params, answers, ok)
		}
	}
}

func TestAnswered(t *testing.T) {
	for _, tt := range []struct {
		method, answer string
		want           bool
	}{
		{"elicitation/create", `{"action":"decline"}`, true},
		{"elicitation/create", `{"action":"maybe"}`, false},
		{"elicitation/create", `{}`, false},
		{"sampling/createMessage", `{"role":"assistant","content":[],"model":"m"}`, true},
		{"sampling/createMessage", `{"action":"accept"}`, false},
		{"roots/list", `{"roots":[]}`, true},
		{"roots/list", `{"roots":{}}`, false},
		{"vendor/x", `{}`, true},
		{"vendor/x", `7`, false},
	} {
		if got := Answered(tt.method, []byte(tt.answer)); got != tt.want {
			t.Errorf("%s, %s: %v", tt.method, tt.answer, got)
		}
	}
}

func TestAskLegacy(t *testing.T) {
	for _, tt := range []struct{ method, params, want string }{
		{"elicitation/create", `{"mode":"url","url":"https://a"}`, `{"mode":"url","url":"https://a","elicitationId":"e1"}`},
		{"elicitation/create", `{"mode":"url","elicitationId":"mine"}`, `{"mode":"url","elicitationId":"mine"}`},
		{"elicitation/create", `{"message":"m"}`, `{"message":"m"}`},
		{"sampling/createMessage", `{"mode":"url"}`, `{"mode":"url"}`},
		{"roots/list", "", ""},
	} {
		if got := (Ask{Method: tt.method, Params: raw(tt.params)}).Legacy("e1"); string(got) != tt.want {
			t.Errorf("%s %s: %s", tt.method, tt.params, got)
		}
	}
}

func TestAllowed(t *testing.T) {
	for _, tt := range []struct {
		name, method, params, capabilities string
		legacy                             int64  // the code for a legacy client, 0 if allowed
		modern                             string // the data for a modern client, "" if allowed
		says                               string
	}{
		{"a form", "elicitation/create", `{"message":"m"}`, `{"elicitation":{}}`, 0, "", ""},
		{"a form, said", "elicitation/create", `{"mode":"form"}`, `{"elicitation":{"form":{},"url":{}}}`, 0, "", ""},
		{"a form, undeclared", "elicitation/create", `{}`, `{"sampling":{}}`, jsonrpc.CodeMethodNotFound, `{"requiredCapabilities":{"elicitation":{}}}`, "capability elicitation"},
		{"a form of one who opens pages", "elicitation/create", `{}`, `{"elicitation":{"url":{}}}`, jsonrpc.CodeInvalidParams, `{"requiredCapabilities":{"elicitation":{"form":{}}}}`, "capability elicitation.form"},
		{"a page", "elicitation/create", `{"mode":"url"}`, `{"elicitation":{"url":{}}}`, 0, "", ""},
		{"a page of one who knows forms", "elicitation/create", `{"mode":"url"}`, `{"elicitation":{}}`, jsonrpc.CodeInvalidParams, `{"requiredCapabilities":{"elicitation":{"url":{}}}}`, "capability elicitation.url"},
		{"a page, undeclared", "elicitation/create", `{"mode":"url"}`, ``, jsonrpc.CodeMethodNotFound, `{"requiredCapabilities":{"elicitation":{"url":{}}}}`, "capability elicitation.url"},
		{"sampling", "sampling/createMessage", `{"tools":null}`, `{"sampling":{}}`, 0, "", ""},
		{"sampling, null", "sampling/createMessage", `{}`, `{"sampling":null}`, jsonrpc.CodeMethodNotFound, `{"requiredCapabilities":{"sampling":{}}}`, "capability sampling"},
		{"sampling with tools", "sampling/createMessage", `{"tools":[]}`, `{"sampling":{"tools":{}}}`, 0, "", ""},
		{"sampling with tools, undeclared", "sampling/createMessage", `{"tools":[]}`, `{"sampling":{}}`, jsonrpc.CodeInvalidParams, `{"requiredCapabilities":{"sampling":{"tools":{}}}}`, "capability sampling.tools"},
		{"a choice of tools, undeclared", "sampling/createMessage", `{"toolChoice":{}}`, `{}`, jsonrpc.CodeMethodNotFound, `{"requiredCapabilities":{"sampling":{"tools":{}}}}`, "capability sampling.tools"},
		{"context", "sampling/createMessage", `{"includeContext":"none"}`, `{"sampling":{}}`, 0, "", ""},
		{"context, undeclared", "sampling/createMessage", `{"includeContext":"thisServer"}`, `{"sampling":{}}`, 0, `{"requiredCapabilities":{"sampling":{"context":{}}}}`, "capability sampling.context"},
		{"roots", "roots/list", ``, `{"roots":{}}`, 0, "", ""},
		{"roots, undeclared", "roots/list", ``, `{}`, jsonrpc.CodeMethodNotFound, `{"requiredCapabilities":{"roots":{}}}`, "capability roots"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := Allowed(tt.method, raw(tt.params), raw(tt.capabilities), false)
			if (e == nil) != (tt.legacy == 0) || e != nil && (e.Code != tt.legacy || !strings.HasSuffix(e.Message, tt.says)) {
				t.Errorf("legacy: %v", e)
			}
			e = Allowed(tt.method, raw(tt.params), raw(tt.capabilities), true)
			if (e == nil) != (tt.modern == "") || e != nil && (e.Code != jsonrpc.CodeMissingRequiredClientCapability || string(e.Data) != tt.modern || !strings.HasSuffix(e.Message, tt.says)) {
				t.Errorf("modern: %v, %s", e, e.Data)
			}
		})
	}
	if e := Allowed("ping", nil, nil, false); e != nil {
		t.Errorf("ping: %v", e)
	}
	if e := Allowed("ping", nil, nil, true); e == nil || e.Code != jsonrpc.CodeMethodNotFound {
		t.Errorf("ping of a modern client: %v", e)
	}
}
