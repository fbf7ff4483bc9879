"""What the end-to-end tests share: real servers, the program under test, a workload and its oracles."""
