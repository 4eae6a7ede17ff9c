#!/bin/sh
# Runs one fuzz target: tests/fuzz/run.sh flatten|verdict [seconds]
#
# Works on stable Rust, without cargo-fuzz: libFuzzer needs nothing but coverage instrumentation, which is an LLVM pass.
# AddressSanitizer would need nightly, and has little to find where unsafe code is forbidden. The seeds are checked in;
# what the fuzzer finds goes to corpus/ and artifacts/, which are not.
set -eu
target=${1:?usage: run.sh flatten|verdict [seconds]}
seconds=${2:-60}
cd "$(dirname "$0")"
mkdir -p "corpus/$target" "artifacts/$target"

# With --target the flags apply to the fuzzed code only, not to build scripts, which would lack libFuzzer's symbols.
host=$(rustc -vV | sed -n 's/^host: //p')
RUSTFLAGS="-Cpasses=sancov-module \
  -Cllvm-args=-sanitizer-coverage-level=4 \
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
  -Cllvm-args=-sanitizer-coverage-pc-table \
  -Cllvm-args=-sanitizer-coverage-trace-compares \
  --cfg fuzzing"
export RUSTFLAGS
exec cargo run --release --locked --target "$host" --bin "$target" -- \
  -max_total_time="$seconds" -max_len=4096 -timeout=5 -rss_limit_mb=2048 -print_final_stats=1 \
  -artifact_prefix="artifacts/$target/" "corpus/$target" "seeds/$target"
