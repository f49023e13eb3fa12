// Package unotify hears of the system calls that a seccomp filter puts before another
// process (seccomp_unotify(2)), and answers for them.
//
// Linux has it, and no other system does.
package unotify
