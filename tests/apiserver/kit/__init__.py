"""What the tests on a bare API server share: the servers, the fault proxy, the cast, the operator's process."""
