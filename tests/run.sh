#!/usr/bin/env bash
# Sets up whatever is missing (virtual environment, packages, a browser, PostgreSQL), then runs every check. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ ! -x .venv/bin/python ]; then python3 -m venv .venv; fi
.venv/bin/pip install --quiet --disable-pip-version-check -r requirements.txt -r tests/requirements.txt

browser() { command -v chromium || command -v google-chrome; }
server() { command -v pg_ctl || compgen -G "/usr/lib/postgresql/*/bin/pg_ctl"; }
missing=()
browser >/dev/null || missing+=(chromium)
server >/dev/null || missing+=(postgresql)
if [ ${#missing[@]} -gt 0 ] && command -v apt-get >/dev/null; then
  as_root=""; [ "$(id -u)" = 0 ] || as_root=sudo
  # The tests start a PostgreSQL of their own: the package shall not start one too.
  $as_root sh -s "${missing[@]}" <<'AS_ROOT' || echo "Could not install ${missing[*]}." >&2
    no_cluster=/etc/postgresql-common/createcluster.d/lora-tailor-tests.conf
    mkdir -p "${no_cluster%/*}" && echo "create_main_cluster = false" >"$no_cluster"
    trap 'rm -f "$no_cluster"' EXIT
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq </dev/null && apt-get install -y -qq "$@" </dev/null >/dev/null
AS_ROOT
fi
if ! browser >/dev/null; then
  echo "Install Chromium or Chrome: the browser tests need it." >&2; exit 1
fi

.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
.venv/bin/lint-imports
# Threads that wait for each other shall sleep: turning on the spot, they take the cores from the other tests.
export OMP_WAIT_POLICY=passive
# A file stays whole, as its tests share a studio; two at a time, since most of them wait most of the time.
.venv/bin/python -m pytest -rs --numprocesses 2 --dist loadfile --no-loadscope-reorder "$@"
