#!/usr/bin/env bash
# Software: promtool of prometheus 2.42.0 (Debian 12: 2.42.0+ds-5+deb12u1)
# Behaviour: "promtool test rules" reads the rule files that the test names. A name that matches no file, and the name of
#   an alert that no rule defines, are not errors: where the test expects no alert, it passes. A renamed rule file thus
#   turns a whole suite of such tests into tests that cannot fail.
# Output seen:
#   the rule file is missing: exit 0
#   no rule has this alert name: exit 0
#   the alert fires against the expectation: exit 1
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

cd "$dir"
apt-get download --quiet=2 prometheus=2.42.0+ds-5+deb12u1 >/dev/null 2>&1
dpkg -x prometheus_*.deb "$dir/package"
promtool=$dir/package/usr/bin/promtool
cat >rules.yml <<'YML'
groups:
  - name: relay
    rules:
      - alert: RelayStuck
        expr: outbox_rows > 0
YML
write_test() { # file, rule file, alert
    cat >"$1" <<YML
rule_files: [$2]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series: [{series: outbox_rows, values: "5 5 5"}]
    alert_rule_test: [{eval_time: 2m, alertname: $3, exp_alerts: []}]
YML
}
write_test missing.yml no-such-file.yml RelayStuck
write_test unknown.yml rules.yml RelayStuk
write_test wrong.yml rules.yml RelayStuck
status() { local rc=0; "$promtool" test rules "$1" >/dev/null 2>&1 || rc=$?; echo "exit $rc"; }
seen="the rule file is missing: $(status missing.yml)
no rule has this alert name: $(status unknown.yml)
the alert fires against the expectation: $(status wrong.yml)"
printf '%s\n' "$seen"
expected='the rule file is missing: exit 0
no rule has this alert name: exit 0
the alert fires against the expectation: exit 1'
[ "$seen" = "$expected" ] || { echo "the behaviour changed" >&2; exit 1; }
