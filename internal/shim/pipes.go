package shim

import "os"

// pipes are the standard streams of a server: its ends, which block as
// programs expect, and ours, which the runtime polls.
type pipes struct {
	childIn, childOut, childErr *os.File
	in, out, err                *os.File
}

func (p pipes) closeChild() { closeAll(p.childIn, p.childOut, p.childErr) }
func (p pipes) closeOurs()  { closeAll(p.in, p.out, p.err) }

func closeAll(files ...*os.File) {
	for _, f := range files {
		if f != nil {
			f.Close()
		}
	}
}
