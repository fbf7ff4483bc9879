"""The ways in which a source may hand a transaction out: while it is open, or whole."""

WHOLE = {"logical_decoding_work_mem": "64MB"}
EARLY = {"logical_decoding_work_mem": "64kB"}                       # once it is larger than that
AT_ONCE = {"debug_logical_replication_streaming": "immediate"}      # each change by itself (16+)

WAYS = {
    "whole": WHOLE, "streamed": EARLY, "14": {"version": 14} | EARLY,
    "16-at-once": {"version": 16} | AT_ONCE, "18": {"version": 18} | EARLY, "18-at-once": {"version": 18} | AT_ONCE,
}
