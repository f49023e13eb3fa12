package main

import (
	"crypto/rand"
	"encoding/json"
	"time"
)

const tasksName = "io.modelcontextprotocol/tasks"

func (p params) doesTasks() bool {
	_, ok := p.Meta.Capabilities.Extensions[tasksName]
	return ok
}

func needsTasks() *fault {
	return &fault{Code: missingCapability, Message: "the client does not do tasks",
		Data: object{"requiredCapabilities": object{"extensions": object{tasksName: object{}}}}}
}

func tools() (all []object) {
	for _, name := range []string{"greet", "slow_compute", "failing_job", "protocol_error_job", "confirm_delete", "multi_input", "test_tool_with_task"} {
		all = append(all, object{"name": name, "description": "the suite calls it", "inputSchema": object{"type": "object"}})
	}
	return all
}

// task is a call that takes long.
type task struct {
	id        string
	made, now time.Time // when it was made, and last changed
	status    string
	waits     map[string]object // what it asks its client
	result    object
	fault     *fault
}

// call answers a call at once, or makes it a task.
func (s *server) call(p params) (object, *fault) {
	args := p.Arguments
	switch {
	case p.Name == "greet":
		return text("Hello, %s!", args.Name), nil
	case p.doesTasks():
	case p.Name == "slow_compute":
		time.Sleep(seconds(args))
		return text("computed %s", args.Label), nil
	default: // the others are of no use but as tasks
		return nil, needsTasks()
	}
	switch p.Name {
	case "slow_compute":
		return s.begin(seconds(args), func(t *task) { t.end(text("computed %s", args.Label), nil) }), nil
	case "failing_job":
		return s.begin(time.Second, func(t *task) {
			failed := text("it failed")
			failed["isError"] = true
			t.end(failed, nil)
		}), nil
	case "protocol_error_job":
		return s.begin(0, func(t *task) { t.end(nil, &fault{Code: -32603, Message: "it broke"}) }), nil
	case "confirm_delete":
		return s.begin(0, func(t *task) { t.ask("confirm") }), nil
	case "multi_input":
		return s.begin(0, func(t *task) { t.ask("first", "second") }), nil
	case "test_tool_with_task":
		answer, ok := p.InputResponses["user_name"]
		if !ok {
			return object{"resultType": "input_required", "inputRequests": object{"user_name": question("name")}}, nil
		}
		var said struct {
			Content struct{ Name string } `json:"content"`
		}
		if err := json.Unmarshal(answer, &said); err != nil {
			return nil, &fault{Code: invalidParams, Message: "inputResponses: " + err.Error()}
		}
		return s.begin(0, func(t *task) { t.end(text("Hello, %s!", said.Content.Name), nil) }), nil
	}
	return nil, &fault{Code: invalidParams, Message: "no such tool: " + p.Name}
}

func seconds(args arguments) time.Duration { return time.Duration(args.Seconds * float64(time.Second)) }

func question(property string) object {
	return object{"method": "elicitation/create", "params": object{
		"mode": "form", "message": "Say it.",
		"requestedSchema": object{"type": "object", "properties": object{property: object{"type": "string"}}},
	}}
}

// begin makes a task, which then runs on after some time, and returns it as it is
// told to who called. It can be asked for before that.
func (s *server) begin(after time.Duration, then func(*task)) object {
	now := time.Now()
	t := &task{id: rand.Text(), made: now, now: now, status: "working"}
	told := t.told()
	told["resultType"] = "task"
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tasks[t.id] = t
	time.AfterFunc(after, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if t.status == "working" {
			then(t)
		}
	})
	return told
}

func (t *task) told() object {
	return object{
		"taskId": t.id, "status": t.status, "ttlMs": 600_000, "pollIntervalMs": 100,
		"createdAt": t.made.UTC().Format(time.RFC3339Nano), "lastUpdatedAt": t.now.UTC().Format(time.RFC3339Nano),
	}
}

func (t *task) end(result object, f *fault) {
	t.now, t.result, t.fault, t.status = time.Now(), result, f, "completed"
	if f != nil {
		t.status = "failed"
	}
}

func (t *task) ask(keys ...string) {
	t.now, t.status, t.waits = time.Now(), "input_required", map[string]object{}
	for _, key := range keys {
		t.waits[key] = question("confirm")
	}
}

func (s *server) ofTask(method string, p params) (object, *fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tasks[p.TaskID]
	if t == nil {
		return nil, &fault{Code: invalidParams, Message: "no such task"}
	}
	switch waiting := t.status == "input_required"; {
	case method == "tasks/cancel":
		if waiting || t.status == "working" {
			t.now, t.status, t.waits = time.Now(), "cancelled", nil
		}
		return object{}, nil
	case method == "tasks/update":
		for key := range p.InputResponses {
			delete(t.waits, key)
		}
		if waiting && len(t.waits) == 0 {
			t.end(text("done"), nil)
		}
		return object{}, nil
	}
	told := t.told()
	switch {
	case t.waits != nil && t.status == "input_required":
		// It is written when the lock is held no more.
		open := object{}
		for key, q := range t.waits {
			open[key] = q
		}
		told["inputRequests"] = open
	case t.result != nil:
		told["result"] = t.result
	case t.fault != nil:
		told["error"] = t.fault
	}
	return told, nil
}
