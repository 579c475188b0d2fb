# mailwake: `make` alone lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.ONESHELL:
.SHELLFLAGS := -eu -o pipefail -c

# DuckDB's Arrow interface is behind a build tag.
export GOFLAGS := -tags=duckdb_arrow
export CGO_ENABLED := 1

GOLANGCI := v2.15.0
AZURITE  := engine/blob/blobtest/azurite
FUZZTIME ?= 30s
FUZZLESS ?= 10s
# Making an input smaller may take a minute by default, and most of the time with it.
FUZZ     := -fuzzminimizetime 100x -fuzztime
ROUNDS   ?= 200
SEEDS    ?= 1000

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

run: build ## start a demo: a server, followed mails, mail clients, KPIs moving (Ctrl-C ends it)
	@exec bin/mailwake demo

build: ## build bin/mailwake
	@go build -o bin/mailwake ./cmd/mailwake

setup: $(AZURITE)/node_modules/.installed ## install Azurite, the tests' blob server, as locked

$(AZURITE)/node_modules/.installed: $(AZURITE)/package-lock.json
	@npm ci --prefix $(AZURITE) --no-audit --no-fund --loglevel=error
	touch $@

test: setup ## run all tests, also against Azurite and with crashes of the real binary
	@go test -timeout 15m ./...

# What takes long under the race detector: the tests of the binary and of removal, and histories
# that one goroutine holds against a model. `make race` is for them.
SLOW := /cmd/|/retention
HISTORIES := Histories$$

check: fmt vet lint setup ## what CI runs: format, vet, lint, tests (all but the slow ones with the race detector), fuzz
	@go test -race -timeout 20m -skip '$(HISTORIES)' $$(go list ./... | grep -Ev '$(SLOW)')
	go test -timeout 15m $$(go list ./... | grep -E '$(SLOW)')
	go test -timeout 15m -run '$(HISTORIES)' ./engine/... ./query
	$(MAKE) --no-print-directory fuzz

race: setup ## the slow tests, too, with the race detector
	@go test -race -timeout 60m $$(go list ./... | grep -E '$(SLOW)')
	go test -race -timeout 60m -run '$(HISTORIES)' ./engine/... ./query

fmt:
	@out=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$out" ] || { echo "run gofmt on: $$out"; exit 1; }

vet:
	@go vet ./...

lint: bin/golangci-lint-$(GOLANGCI)
	@$< run ./...

bin/golangci-lint-$(GOLANGCI):
	@mkdir -p bin
	GOFLAGS= GOBIN=$(CURDIR)/bin go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI)
	mv bin/golangci-lint $@

fuzz: ## fuzz tokens, HTML instrumentation and the log reader, FUZZTIME (30s) each; mails, replies, bulk, requests for 10s; SQL for 60s
	@go test -run '^$$' -fuzz FuzzOpen $(FUZZ) $(FUZZTIME) ./ingest/token
	go test -run '^$$' -fuzz FuzzInstrument $(FUZZ) $(FUZZTIME) ./ingest/follow
	go test -run '^$$' -fuzz FuzzRead $(FUZZ) $(FUZZTIME) ./engine/wal
	go test -run '^$$' -fuzz FuzzRead $(FUZZ) $(FUZZLESS) ./ingest/bulk
	go test -run '^$$' -fuzz FuzzRead $(FUZZ) $(FUZZLESS) ./ingest/reply
	go test -run '^$$' -fuzz FuzzCopy $(FUZZ) $(FUZZLESS) ./ingest/message
	go test -run '^$$' -fuzz FuzzPlain $(FUZZ) $(FUZZLESS) ./ingest
	MAILWAKE_SQL_FUZZ=60s go test -count=1 -run TestFuzzSQL ./query

simulate: setup ## SEEDS (1000) random histories against a model, ROUNDS (200) kill -9 of the real binary
	@MAILWAKE_SEEDS=$(SEEDS) go test -count=1 -timeout 120m -run 'TestSimulate' -v ./engine ./retention | grep -v '^=== RUN\|--- PASS: TestSimulate/'
	MAILWAKE_ROUNDS=$(ROUNDS) go test -count=1 -timeout 60m -run 'TestCrash' -v ./cmd/mailwake

compaction: ## measure compaction and erasure of 10 million events, and pixels beside a compaction (about 3 minutes)
	@MAILWAKE_BLOBS=500 go test -run '^$$' -bench Compact -benchtime 1x ./retention
	MAILWAKE_EVENTS=10000000 go test -run '^$$' -bench Erase -benchtime 1x -v ./retention | grep -v '^=== '
	MAILWAKE_BLOBS=500 go test -count=1 -run TestCompactionBesideIngest -v ./cmd/mailwake

postfix: ## let a real Postfix deliver replies over LMTP on loopback (needs root and Debian's package postfix)
	@GOFLAGS=-tags=duckdb_arrow,postfix go test -count=1 -run TestPostfix -v ./ingest

# Not npm ci, which refuses the lock file where the registry lacks other platforms' libraries.
bench-setup: ## install chDB, ClickHouse within a process, as locked: a peer of bench kpi and bench bulk
	@npm install --no-save --prefix bench/peers --no-audit --no-fund --loglevel=error

bench: build setup bench-setup ## measure everything and regenerate bench/reports (70 minutes, alone on the machine; 15 GB of memory)
	@bin/mailwake bench all --report bench/reports
	go test -run '^$$' -bench . -benchmem ./engine/... ./ingest/... ./query

clean: ## remove what was built
	@rm -rf bin mailwake-data

.PHONY: help run build setup test check race fmt vet lint fuzz simulate compaction postfix bench bench-setup clean
