package sandbox

import (
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	if os.Args[0] == ProbeName {
		ProbeMain(os.Args)
	}
	if role := roles[os.Args[0]]; role != nil {
		role(os.Args)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// roles are what the test binary can be besides a test, by argv[0].
var roles = map[string]func(args []string){
	initRole:   initMain,
	stageRole:  stageMain,
	holesRole:  holesMain,
	runRole:    runMain,
	notifyRole: notifyMain,
	learnRole:  learnMain,
	dialRole:   dialMain,
	catRole:    catMain,
	dockerRole: dockerMain,
}
