package shim_test

// This test binary can be a shim of either role.
import _ "github.com/berth-run/berth/internal/confined"
