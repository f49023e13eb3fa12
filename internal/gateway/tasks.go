package gateway

import (
	"slices"
	"sync"

	"github.com/berth-run/berth/internal/bridge"
	"github.com/berth-run/berth/internal/jsonrpc"
	"github.com/berth-run/berth/internal/mcp"
)

// keptTask is what a request became that takes long, and who made it. Between
// peers of one era all that is said of tasks passes as it is, but only to their
// makers: the session that made it, and once that has ended its principal.
type keptTask struct {
	ID        string `json:"id"` // as the server named it
	Principal string `json:"principal"`
	Session   string `json:"session,omitempty"` // its key; "" for a modern client
	Ours      string `json:"ours,omitempty"`    // the progress token that the server knows
	Token     []byte `json:"token,omitempty"`   // the client's own
}

// tasks are those of one server.
type tasks struct {
	mu  sync.Mutex // guards the field below
	all []keptTask // oldest first, each id once
}

// tasksMost bounds the tasks of one server that are known; the oldest are forgotten
// first.
const tasksMost = 1000

// add takes notice of a task; one of the same id before it is no more.
func (t *tasks) add(k keptTask) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all = withTask(t.all, k)
}

func withTask(all []keptTask, k keptTask) []keptTask {
	all = slices.DeleteFunc(all, func(other keptTask) bool { return other.ID == k.ID })
	if len(all) >= tasksMost {
		all = slices.Delete(all, 0, len(all)-tasksMost+1)
	}
	return append(all, k)
}

// find returns the task that f describes.
func (t *tasks) find(f func(keptTask) bool) (keptTask, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.IndexFunc(t.all, f); i >= 0 {
		return t.all[i], true
	}
	return keptTask{}, false
}

func (t *tasks) byID(id string) (keptTask, bool) {
	return t.find(func(k keptTask) bool { return id != "" && k.ID == id })
}

// mayBecomeTask says whether the answer to a request may be that it became a task.
func (c *child) mayBecomeTask(by *caller, params []byte) bool {
	if c.era == mcp.Modern {
		return by.modern && by.client.DoesTasks()
	}
	return c.tasks && jsonrpc.Get(params, "task") != nil
}

// taskMade takes notice of the task that a call became, if it did.
func (c *child) taskMade(k *call, result []byte) {
	id := jsonrpc.Get(result, "task", "taskId")
	if c.era == mcp.Modern {
		if bridge.ResultType(result) != "task" {
			return
		}
		id = jsonrpc.Get(result, "taskId")
	}
	c.mu.Lock()
	by, token := k.by, k.token
	c.mu.Unlock()
	made := keptTask{ID: stringOf(id), Principal: by.Principal}
	if made.ID == "" {
		return
	}
	if by.session != nil {
		made.Session = by.session.key
		if token != nil {
			made.Ours, made.Token = k.id, clone(token)
		}
	}
	c.makesTasks.Store(true)
	c.srv.tasks.add(made)
	c.srv.g.ledger.note(record{Server: c.srv.name, Task: &made})
}

// errNoTask is what a server says of a task that it does not know.
var errNoTask = &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: "Task not found"}

// noTask is what a client is told of a task that is not its own. A modern one that does
// no tasks has none: "servers MUST reject" what it asks of any, known or not.
func noTask(x exchange) error {
	if x.by.modern && !x.by.client.DoesTasks() {
		return bridge.NeedsTasks(x.m.Method)
	}
	return errNoTask
}

// checkTask refuses what is asked of a task that is another's, or by a modern client
// that does no tasks.
func (s *server) checkTask(x exchange) error {
	switch x.m.Method {
	case "tasks/get", "tasks/result", "tasks/cancel", "tasks/update":
		if x.by.modern && !x.by.client.DoesTasks() || !s.owns(x.by, jsonrpc.Get(x.m.Params, "taskId")) {
			return noTask(x)
		}
	}
	return nil
}

// owns says whether a task, by its id as raw JSON, is the client's.
func (s *server) owns(by *caller, id []byte) bool {
	k, known := s.tasks.byID(stringOf(id))
	if !known || k.Principal != by.Principal {
		return false
	}
	return k.Session == "" || by.session != nil && by.session.key == k.Session || s.maker(k) == nil
}

// maker returns the session that made a task, nil if it has ended.
func (s *server) maker(k keptTask) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessions[k.Session]
}

// ownTasks is a legacy server's list of tasks without those of others.
func (s *server) ownTasks(by *caller, result []byte) []byte {
	list := jsonrpc.Get(result, "tasks")
	if list == nil {
		return result
	}
	own := jsonrpc.EditElements(list, func(task []byte) []byte {
		if !s.owns(by, jsonrpc.Get(task, "taskId")) {
			return nil
		}
		return task
	})
	out, err := jsonrpc.Set(result, own, "tasks")
	if err != nil {
		return result // cannot happen: it is an object
	}
	return out
}

// ownSubscriptions are the params of a modern client's subscriptions/listen without
// the tasks of others.
func (s *server) ownSubscriptions(x exchange) []byte {
	list := jsonrpc.Get(x.m.Params, "notifications", "taskIds")
	if list == nil {
		return x.m.Params
	}
	own := jsonrpc.EditElements(list, func(id []byte) []byte {
		if !s.owns(x.by, id) {
			return nil
		}
		return id
	})
	out, err := jsonrpc.Set(x.m.Params, own, "notifications", "taskIds")
	if err != nil {
		return x.m.Params // cannot happen: they are objects
	}
	return out
}

// relatedTask is the task that a message of a legacy server's belongs to, as raw
// JSON; nil if it is none.
func relatedTask(m jsonrpc.Message) []byte {
	if m.Method == "notifications/tasks/status" {
		return jsonrpc.Get(m.Params, "taskId")
	}
	return jsonrpc.Get(m.Params, "_meta", "io.modelcontextprotocol/related-task", "taskId")
}

// ofTask passes on a notification that is about a task to its maker, and says
// whether it is.
func (c *child) ofTask(m jsonrpc.Message, line []byte) bool {
	if !c.tasks {
		return false
	}
	k, known := keptTask{}, false
	if m.Method == "notifications/progress" {
		token := stringOf(jsonrpc.Get(m.Params, "progressToken"))
		if k, known = c.srv.tasks.find(func(k keptTask) bool { return token != "" && k.Ours == token }); !known {
			return false
		}
		var params []byte
		params, err := jsonrpc.Set(m.Params, k.Token, "progressToken")
		if err == nil {
			line, err = m.Rewrite(jsonrpc.Rewrite{Params: params})
		}
		if err != nil {
			return true // cannot happen: it has params
		}
	} else {
		id := relatedTask(m)
		if id == nil {
			return false
		}
		k, known = c.srv.tasks.byID(stringOf(id))
	}
	maker := c.srv.maker(k)
	if !known || maker == nil || m.Method == "notifications/message" && !severe(stringOf(jsonrpc.Get(m.Params, "level")), maker.who.level()) {
		c.srv.g.counts.unowned.Add(1)
		return true
	}
	maker.tell(line)
	return true
}

// errNoMaker refuses a question for the sake of a task that is nobody's.
var errNoMaker = &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Message: "no client of now has made that task, so nobody can be asked"}
