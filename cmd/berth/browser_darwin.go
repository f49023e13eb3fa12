package main

// systemBrowser opens the URL that follows.
func systemBrowser() []string { return []string{"/usr/bin/open"} }
