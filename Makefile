# Shorthand only: `go test ./...` needs none of it.
.PHONY: build quick check test race fuzz kills chaos mutants bench bench-gateway catalog-check cover

KILLS ?= 10000
FETCH_KILLS ?= 200
SECONDS ?= 120

build: ## a stripped binary, bin/berth
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o bin/berth ./cmd/berth

quick: ## what a commit should pass
	.ci/run quick

check: ## everything, as in CI
	.ci/run

test:
	go test ./...

race:
	GORACE=atexit_sleep_ms=0 go test -race ./...

fuzz: ## every fuzz target, SECONDS in all
	.ci/fuzz.sh $(SECONDS)

kills: ## the kill loop: every named point once, then KILLS at random
	BERTH_CHAOS_KILLS=$(KILLS) go test -tags failpoint -v -count=1 -timeout 3h ./internal/chaos

chaos: kills ## the kill loop; fetches, installs and updates, FETCH_KILLS of each
	BERTH_FETCH_KILLS=$(FETCH_KILLS) go test -v -count=1 -timeout 1h -run 'TestKilledFetch|TestKilledInstall' ./internal/catalog ./cmd/berth

mutants: ## break a promise on purpose; a test must notice
	.ci/mutants.sh

bench: ## the figures of docs/benchmarks.md
	go test -run '^$$' -bench . -benchtime 1x -timeout 30m ./internal/bench

bench-gateway: ## those of the gateway; BERTH_BENCH_MCPBENCH names the yardstick
	go test -v -run '^$$' -bench Gateway -benchtime 1x -timeout 30m ./internal/bench

catalog-check: ## install and run all of the catalogue from its registries; UPDATE=1 writes down what was seen
	BERTH_TEST_REGISTRIES=1 BERTH_CATALOG_CHECK=1 BERTH_TEST_UPDATE=$(UPDATE) go test -v -count=1 -timeout 2h -run 'TestCatalog$$' ./cmd/berth

cover:
	go test -coverpkg=./... -coverprofile=cover.out ./... && go tool cover -func=cover.out | tail -1
