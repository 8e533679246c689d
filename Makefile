# Names for those who type `make`; the work is done in scripts/.
.PHONY: setup demo test lint bench clean

setup:
	scripts/setup

demo:
	scripts/demo

test:
	scripts/test

lint:
	scripts/lint

bench:
	scripts/bench

clean:
	rm -rf .venv dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
