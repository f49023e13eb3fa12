//go:build !windows

package home

import (
	"context"
	"time"
)

// followTick never ticks: the events of these systems come as things happen.
func followTick(context.Context) <-chan time.Time { return nil }
