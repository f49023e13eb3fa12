package sandbox

// Access is what is tried with a path.
type Access string

const (
	AccessLook    Access = "look at" // its names and times
	AccessRead    Access = "read"
	AccessWrite   Access = "write"
	AccessExec    Access = "run"
	AccessConnect Access = "connect to"
)

// learnedCall is a system call by which files are reached.
type learnedCall struct {
	name call
	// dir and path are which of its arguments are the descriptor that the path is below
	// and the path; dir is -1 where there is none.
	dir, path int
	// flags is which argument has the flags of open; -1 where access says it all.
	flags  int
	access Access
}

// learned are those calls. Of two paths it is the second, to which something is put.
func learned() []learnedCall {
	return []learnedCall{
		{"open", -1, 0, 1, ""}, {"openat", 0, 1, 2, ""}, {"openat2", 0, 1, 2, ""}, {"creat", -1, 0, -1, AccessWrite},
		{"stat", -1, 0, -1, AccessLook}, {"lstat", -1, 0, -1, AccessLook}, {"newfstatat", 0, 1, -1, AccessLook}, {"statx", 0, 1, -1, AccessLook},
		{"access", -1, 0, -1, AccessLook}, {"faccessat", 0, 1, -1, AccessLook}, {"faccessat2", 0, 1, -1, AccessLook},
		{"readlink", -1, 0, -1, AccessLook}, {"readlinkat", 0, 1, -1, AccessLook}, {"chdir", -1, 0, -1, AccessLook},
		{"execve", -1, 0, -1, AccessExec}, {"execveat", 0, 1, -1, AccessExec},
		{"mkdir", -1, 0, -1, AccessWrite}, {"mkdirat", 0, 1, -1, AccessWrite},
		{"unlink", -1, 0, -1, AccessWrite}, {"unlinkat", 0, 1, -1, AccessWrite}, {"rmdir", -1, 0, -1, AccessWrite},
		{"rename", -1, 1, -1, AccessWrite}, {"renameat", 2, 3, -1, AccessWrite}, {"renameat2", 2, 3, -1, AccessWrite},
		{"link", -1, 1, -1, AccessWrite}, {"linkat", 2, 3, -1, AccessWrite},
		{"symlink", -1, 1, -1, AccessWrite}, {"symlinkat", 1, 2, -1, AccessWrite}, {"truncate", -1, 0, -1, AccessWrite},
	}
}
