#include "sink/sink.h"

int sink_list(const Config *cfg, const SinkOps **out) {
    int count = 0;
    if (cfg->target.dsn != NULL)
        out[count++] = &sink_apply;
    if (cfg->kafka.brokers != NULL)
        out[count++] = &sink_kafka;
    if (cfg->file.path != NULL)
        out[count++] = &sink_file;
    return count;
}
