package home

import (
	"context"
	"time"
)

// followTick ticks beside the events: this system tells of what was written
// only when it gets round to updating the directory, which may take until the
// writer closes the file.
func followTick(ctx context.Context) <-chan time.Time {
	t := time.NewTicker(time.Second)
	context.AfterFunc(ctx, t.Stop)
	return t.C
}
