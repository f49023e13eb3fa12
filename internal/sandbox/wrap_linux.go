package sandbox

// Wrap returns the command itself: here a server is confined by the process that
// executes it, see Enter.
func (p *Plan) Wrap(path string, argv []string) (string, []string, error) { return path, argv, nil }
