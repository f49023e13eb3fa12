package shim

import "os"

func openPipes() (p pipes, err error) {
	defer func() {
		if err != nil {
			p.closeChild()
			p.closeOurs()
		}
	}()
	if p.childIn, p.in, err = os.Pipe(); err != nil {
		return p, err
	}
	if p.out, p.childOut, err = os.Pipe(); err != nil {
		return p, err
	}
	p.err, p.childErr, err = os.Pipe()
	return p, err
}
