package main

// testDocker is a stand-in that needs to pass descriptors on.
func testDocker([]string) int { return 1 }
