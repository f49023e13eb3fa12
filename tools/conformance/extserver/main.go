// Command extserver is an MCP server on stdio, of revision 2026-07-28 only, that
// implements the extensions io.modelcontextprotocol/tasks, with the tools that the
// official suite calls, and io.modelcontextprotocol/skills, with one skill. The Go SDK
// implements neither.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"sync"
)

func main() {
	s := &server{tasks: map[string]*task{}, out: json.NewEncoder(os.Stdout)}
	in := bufio.NewReader(os.Stdin)
	var requests sync.WaitGroup
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			break // the end of stdin is the end of the server
		}
		var r request
		if err := json.Unmarshal(line, &r); err != nil {
			log.Fatalf("extserver: %v", err) // a client of tests that is broken
		}
		if r.ID != nil {
			requests.Go(func() { s.answer(r) })
		}
	}
	requests.Wait()
}

type object = map[string]any

// request is what a client wants.
type request struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params params          `json:"params"`
}

type params struct {
	Meta struct {
		Capabilities struct {
			Extensions object `json:"extensions"`
		} `json:"io.modelcontextprotocol/clientCapabilities"`
	} `json:"_meta"`
	Name           string                     `json:"name"`
	URI            string                     `json:"uri"`
	TaskID         string                     `json:"taskId"`
	Arguments      arguments                  `json:"arguments"`
	InputResponses map[string]json.RawMessage `json:"inputResponses"`
}

type arguments struct {
	Name     string  `json:"name"`
	Label    string  `json:"label"`
	Filename string  `json:"filename"`
	Seconds  float64 `json:"seconds"`
}

// fault is an error of the protocol.
type fault struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
	Data    any    `json:"data,omitempty"`
}

const (
	invalidParams     = -32602
	methodNotFound    = -32601
	missingCapability = -32021
)

// server serves one client.
type server struct {
	mu    sync.Mutex // guards the fields below
	out   *json.Encoder
	tasks map[string]*task
}

func (s *server) answer(r request) {
	result, f := s.serve(r)
	answer := object{"jsonrpc": "2.0", "id": r.ID}
	if f != nil {
		answer["error"] = f
	} else {
		if _, ok := result["resultType"]; !ok {
			result["resultType"] = "complete"
		}
		answer["result"] = result
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.out.Encode(answer); err != nil {
		log.Fatalf("extserver: %v", err)
	}
}

func (s *server) serve(r request) (object, *fault) {
	switch r.Method {
	case "server/discover":
		return cached(object{
			"supportedVersions": []string{"2026-07-28"},
			"serverInfo":        object{"name": "extserver", "version": "1"},
			"capabilities": object{
				"tools":      object{},
				"resources":  object{},
				"extensions": object{tasksName: object{}, skillsName: object{"directoryRead": true}},
			},
		}), nil
	case "tools/list":
		return cached(object{"tools": tools()}), nil
	case "tools/call":
		return s.call(r.Params)
	case "tasks/get", "tasks/update", "tasks/cancel":
		if !r.Params.doesTasks() {
			return nil, needsTasks()
		}
		return s.ofTask(r.Method, r.Params)
	}
	if result, f, ok := ofSkills(r); ok {
		return result, f
	}
	return nil, &fault{Code: methodNotFound, Message: "no such method: " + r.Method}
}

func cached(o object) object {
	o["ttlMs"], o["cacheScope"] = 0, "private"
	return o
}

func text(format string, args ...any) object {
	return object{"content": []object{{"type": "text", "text": fmt.Sprintf(format, args...)}}}
}
