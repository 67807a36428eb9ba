"""Tests of `sidecar.data.account`."""
