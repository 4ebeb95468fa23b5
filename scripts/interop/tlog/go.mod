module stepseal/interop/tlog

go 1.25

require golang.org/x/mod v0.0.0

// The copy of it that is part of the Go toolchain; interop.mk puts it there.
replace golang.org/x/mod => ../../../target/interop/x-mod
