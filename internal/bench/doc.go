// Package bench holds no code, only benchmarks: the figures of
// docs/benchmarks.md, each as a ratio to a baseline of the same run, since the
// machines it runs on are shared and noisy. `make bench` runs them.
package bench
