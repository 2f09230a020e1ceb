/* SPDX-License-Identifier: Apache-2.0 */
/* schema.c - see schema.h. docs/metrics.md is cb_schema_print_markdown(); tests/unit/test_schema.c
 * says when it is not, and writes it with SCHEMA_WRITE=1. */
#include "lib/schema.h"

#include <string.h>

#define UJ "microjoules"
#define NS "nanoseconds"

/* name, unit, kind (C counter, G gauge, T text), scope, prometheus, help */
#define C CB_SCHEMA_COUNTER
#define G CB_SCHEMA_GAUGE
#define T CB_SCHEMA_TEXT

static const struct cb_schema_metric metrics[CB_SCHEMA_COUNT] = {
    [CB_SCHEMA_DYNAMIC_UJ] = {"dynamic_uj", UJ, C, CB_SCHEMA_CONTAINER_DOMAIN,
                              "cb_container_energy_joules_total",
                              "Dynamic energy of the container. Domains other than package and "
                              "dram lie inside them: never add those up. source=\"estimate\" is "
                              "not measured.",
                              "kepler_container_cpu_joules_total"},
    [CB_SCHEMA_UNCERTAINTY_UJ] = {"uncertainty_uj", UJ, G, CB_SCHEMA_CONTAINER_DOMAIN,
                                  "cb_container_energy_uncertainty_joules",
                                  "Half-width of the 95 % interval of the container's energy."},
    [CB_SCHEMA_ENERGY_UJ] = {"energy_uj", UJ, C, CB_SCHEMA_NODE_DOMAIN,
                             "cb_node_energy_joules_total",
                             "Energy of the machine's socket and domain, as its source counted "
                             "it.",
                             "kepler_node_cpu_joules_total"},
    [CB_SCHEMA_SOURCE_UNCERTAINTY_UJ] = {"source_uncertainty_uj", UJ, G, CB_SCHEMA_NODE_DOMAIN,
                                         "cb_node_energy_uncertainty_joules",
                                         "Half-width of the 95 % interval of the source itself."},
    [CB_SCHEMA_IDLE_UJ] = {"idle_uj", UJ, C, CB_SCHEMA_NODE_DOMAIN,
                           "cb_node_idle_energy_joules_total",
                           "Part of the node's energy that it would have used idle.",
                           "kepler_node_cpu_idle_joules_total"},
    [CB_SCHEMA_SYSTEM_UJ] = {"system_uj", UJ, C, CB_SCHEMA_NODE_DOMAIN,
                             "cb_node_system_energy_joules_total",
                             "Dynamic energy of what runs outside containers."},
    [CB_SCHEMA_UNATTRIBUTED_UJ] = {"unattributed_uj", UJ, C, CB_SCHEMA_NODE_DOMAIN,
                                   "cb_unattributed_energy_joules_total",
                                   "Energy that could not be assigned to anything."},
    [CB_SCHEMA_ACTIVE_UJ] = {"active_uj", UJ, C, CB_SCHEMA_NODE_DOMAIN, NULL,
                             "Node's energy without the idle part; the stores have the two it is "
                             "made from.",
                             "kepler_node_cpu_active_joules_total"},
    [CB_SCHEMA_COVERED_NS] = {"covered_ns", NS, C, CB_SCHEMA_NODE_DOMAIN, NULL,
                              "Part of the row's time that its frames cover: less where some are "
                              "missing."},
    [CB_SCHEMA_MACHINE_CPU_NS] = {"machine_cpu_ns", NS, C, CB_SCHEMA_NODE, NULL,
                                  "CPU time of the whole machine."},

    [CB_SCHEMA_CONTAINER_ID] = {"container_id", "1", T, CB_SCHEMA_CONTAINER, NULL,
                                "Docker's id of the container, 64 hex digits."},
    [CB_SCHEMA_CONTAINER_NAME] = {"container_name", "1", T, CB_SCHEMA_CONTAINER, NULL,
                                  "Name of the container."},
    [CB_SCHEMA_IMAGE] = {"image", "1", T, CB_SCHEMA_CONTAINER, NULL,
                         "Image the container was made from."},
    [CB_SCHEMA_INFO] = {"info", "1", G, CB_SCHEMA_CONTAINER, "cb_container_info",
                        "Name and image of a container; always 1."},
    [CB_SCHEMA_CPU_NS] = {"cpu_ns", NS, C, CB_SCHEMA_CONTAINER, "cb_container_cpu_seconds_total",
                          "CPU time, known to the container's last moment."},
    [CB_SCHEMA_CPU_USAGE_NS] = {"cpu_usage_ns", NS, C, CB_SCHEMA_CONTAINER, NULL,
                                "CPU time as the cgroup's own files count it."},
    [CB_SCHEMA_CPU_USER_NS] = {"cpu_user_ns", NS, C, CB_SCHEMA_CONTAINER, NULL,
                               "CPU time in user mode."},
    [CB_SCHEMA_CPU_SYSTEM_NS] = {"cpu_system_ns", NS, C, CB_SCHEMA_CONTAINER, NULL,
                                 "CPU time in the kernel."},
    [CB_SCHEMA_CPU_THROTTLED_NS] = {"cpu_throttled_ns", NS, C, CB_SCHEMA_CONTAINER, NULL,
                                    "Time for which the CPU quota held the container back."},
    [CB_SCHEMA_MEMORY_BYTES] = {"memory_bytes", "bytes", G, CB_SCHEMA_CONTAINER, NULL,
                                "Memory in use, file cache included."},
    [CB_SCHEMA_MEMORY_PEAK_BYTES] = {"memory_peak_bytes", "bytes", G, CB_SCHEMA_CONTAINER, NULL,
                                     "Highest memory use since the container's start."},
    [CB_SCHEMA_MEMORY_ANON_BYTES] = {"memory_anon_bytes", "bytes", G, CB_SCHEMA_CONTAINER, NULL,
                                     "Memory that no file backs."},
    [CB_SCHEMA_MEMORY_FILE_BYTES] = {"memory_file_bytes", "bytes", G, CB_SCHEMA_CONTAINER, NULL,
                                     "File cache charged to the container."},
    [CB_SCHEMA_MEMORY_SWAP_BYTES] = {"memory_swap_bytes", "bytes", G, CB_SCHEMA_CONTAINER, NULL,
                                     "Memory swapped out."},
    [CB_SCHEMA_MEMORY_LIMIT_BYTES] = {"memory_limit_bytes", "bytes", G, CB_SCHEMA_CONTAINER, NULL,
                                      "Memory limit; absent when there is none."},
    [CB_SCHEMA_MEMORY_OOM_KILLS] = {"memory_oom_kills", "1", C, CB_SCHEMA_CONTAINER, NULL,
                                    "Processes killed for want of memory."},
    [CB_SCHEMA_IO_READ_BYTES] = {"io_read_bytes", "bytes", C, CB_SCHEMA_CONTAINER, NULL,
                                 "Bytes read from block devices."},
    [CB_SCHEMA_IO_WRITE_BYTES] = {"io_write_bytes", "bytes", C, CB_SCHEMA_CONTAINER, NULL,
                                  "Bytes written to block devices."},
    [CB_SCHEMA_IO_READ_OPS] = {"io_read_ops", "1", C, CB_SCHEMA_CONTAINER, NULL,
                               "Reads from block devices."},
    [CB_SCHEMA_IO_WRITE_OPS] = {"io_write_ops", "1", C, CB_SCHEMA_CONTAINER, NULL,
                                "Writes to block devices."},
    [CB_SCHEMA_NET_RX_BYTES] = {"net_rx_bytes", "bytes", C, CB_SCHEMA_CONTAINER, NULL,
                                "Bytes received in the container's network namespace."},
    [CB_SCHEMA_NET_TX_BYTES] = {"net_tx_bytes", "bytes", C, CB_SCHEMA_CONTAINER, NULL,
                                "Bytes sent in the container's network namespace."},
    [CB_SCHEMA_NET_RX_PACKETS] = {"net_rx_packets", "1", C, CB_SCHEMA_CONTAINER, NULL,
                                  "Packets received in the container's network namespace."},
    [CB_SCHEMA_NET_TX_PACKETS] = {"net_tx_packets", "1", C, CB_SCHEMA_CONTAINER, NULL,
                                  "Packets sent in the container's network namespace."},
    [CB_SCHEMA_PIDS] = {"pids", "1", G, CB_SCHEMA_CONTAINER, NULL, "Processes and threads."},
    [CB_SCHEMA_CPU_PRESSURE_NS] = {"cpu_pressure_ns", NS, C, CB_SCHEMA_CONTAINER, NULL,
                                   "Time for which some task waited for a CPU."},
    [CB_SCHEMA_MEMORY_PRESSURE_NS] = {"memory_pressure_ns", NS, C, CB_SCHEMA_CONTAINER, NULL,
                                      "Time for which some task waited for memory."},
    [CB_SCHEMA_MEMORY_PRESSURE_FULL_NS] = {"memory_pressure_full_ns", NS, C, CB_SCHEMA_CONTAINER,
                                           NULL, "Time for which every task waited for memory."},
    [CB_SCHEMA_IO_PRESSURE_NS] = {"io_pressure_ns", NS, C, CB_SCHEMA_CONTAINER, NULL,
                                  "Time for which some task waited for a block device."},
    [CB_SCHEMA_IO_PRESSURE_FULL_NS] = {"io_pressure_full_ns", NS, C, CB_SCHEMA_CONTAINER, NULL,
                                       "Time for which every task waited for a block device."},

    [CB_SCHEMA_SENSOR_CPU_NS] = {"self_cpu_ns", NS, C, CB_SCHEMA_SENSOR,
                                 "cb_sensor_cpu_seconds_total", "CPU time of the sensor itself."},
    [CB_SCHEMA_SENSOR_UJ] = {"self_uj", UJ, C, CB_SCHEMA_SENSOR,
                             "cb_sensor_estimated_energy_joules_total",
                             "Estimate, not measured: the sensor's part of the machine's dynamic "
                             "energy of package and dram by its part of the CPU time; 0 where that "
                             "is not known. It lies inside the system's energy or that of the "
                             "sensor's own container: never add it to them."},
    [CB_SCHEMA_SENSOR_LOST_FRAMES] = {"lost_frames", "1", C, CB_SCHEMA_SENSOR,
                                      "cb_sensor_lost_frames_total",
                                      "Frames the sensor had to drop because its spool was full."},
    [CB_SCHEMA_SENSOR_MISSED_TICKS] = {"missed_ticks", "1", C, CB_SCHEMA_SENSOR,
                                       "cb_sensor_missed_ticks_total",
                                       "Ticks that came too late: their intervals are wider."},
    [CB_SCHEMA_SENSOR_UNREADABLE] = {"unreadable_sources", "1", G, CB_SCHEMA_SENSOR,
                                     "cb_sensor_unreadable_sources",
                                     "What the sensor could not read, or does not measure at all, "
                                     "in its newest stored frame; absent after a start of "
                                     "cbformula until that comes."},
    [CB_SCHEMA_SENSOR_UNREADABLE_INFO] = {"unreadable_source_info", "1", G, CB_SCHEMA_SENSOR_SOURCE,
                                          "cb_sensor_unreadable_source_info",
                                          "Each of the first 16 of them by the name that the frame "
                                          "gives it, at most 127 bytes of it; always 1."},

    [CB_SCHEMA_BUILD_INFO] = {"build_info", "1", G, CB_SCHEMA_FORMULA, "cb_build_info",
                              "Version of cbformula; always 1."},
    [CB_SCHEMA_FRAMES] = {"frames", "1", C, CB_SCHEMA_NODE, "cb_formula_frames_total",
                          "Frames of the machine that were stored."},
    [CB_SCHEMA_DUPLICATES] = {"duplicates", "1", C, CB_SCHEMA_NODE,
                              "cb_formula_duplicate_frames_total",
                              "Frames that came again and were dropped."},
    [CB_SCHEMA_REFUSED] = {"refused", "1", C, CB_SCHEMA_NODE, "cb_formula_refused_frames_total",
                           "Frames and hellos of the machine that were refused."},
    [CB_SCHEMA_VIOLATIONS] = {"violations", "1", C, CB_SCHEMA_NODE,
                              "cb_formula_conservation_violations_total",
                              "Domains of frames whose parts did not sum to their energy; always "
                              "0."},
    [CB_SCHEMA_LAG_S] = {"lag_s", "seconds", G, CB_SCHEMA_NODE, "cb_formula_lag_seconds",
                         "Age of the machine's newest stored frame."},
    [CB_SCHEMA_NODE_COVERED_NS] = {"node_covered_ns", NS, C, CB_SCHEMA_NODE,
                                   "cb_node_covered_seconds_total",
                                   "Time that stored frames cover: the energy of it is known."},
    [CB_SCHEMA_GAP_NS] = {"node_gap_ns", NS, C, CB_SCHEMA_NODE, "cb_node_gap_seconds_total",
                          "Time within a boot that no stored frame covers (the sensor was away, or "
                          "frames were lost): the energy of it is not known and in no other "
                          "figure."},
    [CB_SCHEMA_GAPS] = {"node_gaps", "1", C, CB_SCHEMA_NODE, "cb_node_gaps_total",
                        "Pieces of that time, in the order in which frames came."},
    [CB_SCHEMA_COMMITS] = {"commits", "1", C, CB_SCHEMA_FORMULA, "cb_formula_commits_total",
                           "Transactions of ingest since the start."},
    [CB_SCHEMA_COMMIT_FAILURES] = {"commit_failures", "1", C, CB_SCHEMA_FORMULA,
                                   "cb_formula_commit_failures_total",
                                   "Transactions of ingest that failed and were repeated, since "
                                   "the start."},
    [CB_SCHEMA_REFUSED_MESSAGES] = {"refused_messages", "1", C, CB_SCHEMA_FORMULA,
                                    "cb_formula_refused_messages_total",
                                    "Messages that were refused since the start, also of unknown "
                                    "machines."},
    [CB_SCHEMA_IGNORED_MESSAGES] = {"ignored_messages", "1", C, CB_SCHEMA_FORMULA,
                                    "cb_formula_ignored_messages_total",
                                    "Malformed messages, and those of keys that are not let in, "
                                    "since the start."},
    [CB_SCHEMA_HTTP_REQUESTS] = {"http_requests", "1", C, CB_SCHEMA_FORMULA,
                                 "cb_formula_http_requests_total",
                                 "HTTP requests since the start."},
    [CB_SCHEMA_SINK_WAITING] = {"queue_entries", "1", G, CB_SCHEMA_SINK, "cb_sink_queue_entries",
                                "Recaps that wait for another store."},
    [CB_SCHEMA_SINK_SET_ASIDE] = {"set_aside_entries", "1", G, CB_SCHEMA_SINK,
                                  "cb_sink_set_aside_entries",
                                  "Recaps that another store will never take."},
    [CB_SCHEMA_SINK_DELIVERED] = {"delivered", "1", C, CB_SCHEMA_SINK, "cb_sink_delivered_total",
                                  "Recaps that another store took since the start."},
    [CB_SCHEMA_SINK_FAILURES] = {"failures", "1", C, CB_SCHEMA_SINK, "cb_sink_failures_total",
                                 "Tries to reach another store that failed, since the start."},
    [CB_SCHEMA_STREAM_ROWS] = {"stream_rows", "1", C, CB_SCHEMA_STREAM, "cb_stream_rows_total",
                               "Rows that another store took since the start."},
    [CB_SCHEMA_STREAM_BATCHES] = {"stream_batches", "1", C, CB_SCHEMA_STREAM,
                                  "cb_stream_batches_total",
                                  "Batches of rows that another store took since the start."},
    [CB_SCHEMA_STREAM_FAILURES] = {"stream_failures", "1", C, CB_SCHEMA_STREAM,
                                   "cb_stream_failures_total",
                                   "Tries to write rows that failed and are repeated, since the "
                                   "start."},
    [CB_SCHEMA_STREAM_SET_ASIDE] = {"stream_set_aside_rows", "1", C, CB_SCHEMA_STREAM,
                                    "cb_stream_set_aside_rows_total",
                                    "Rows that another store refused for good."},
    [CB_SCHEMA_STREAM_LOST_FRAMES] = {"stream_lost_frames", "1", C, CB_SCHEMA_STREAM,
                                      "cb_stream_lost_frames_total",
                                      "Frames that were deleted before another store had taken "
                                      "them."},
    [CB_SCHEMA_STREAM_WAITING] = {"stream_waiting_frames", "1", G, CB_SCHEMA_STREAM,
                                  "cb_stream_waiting_frames",
                                  "Stored frames that another store has not taken yet."},
    [CB_SCHEMA_STREAM_LAG_S] = {"stream_lag_s", "seconds", G, CB_SCHEMA_STREAM,
                                "cb_stream_lag_seconds",
                                "Age of the oldest frame that another store has not taken yet."},
};

static const struct {
    const char *title;
    const char *labels;
    const char *measurement;
} scopes[CB_SCHEMA_SCOPES] = {
    [CB_SCHEMA_CONTAINER] = {"Containers", "machine,container_id,container_name,image", "cb_usage"},
    [CB_SCHEMA_CONTAINER_DOMAIN] = {"Energy of containers",
                                    "machine,container_id,container_name,image,socket,domain,"
                                    "source",
                                    "cb_container"},
    [CB_SCHEMA_NODE] = {"Machines", "machine"},
    [CB_SCHEMA_NODE_DOMAIN] = {"Energy of machines", "machine,socket,domain,source", "cb_node"},
    [CB_SCHEMA_SENSOR] = {"cbsensor about itself", "machine"},
    [CB_SCHEMA_SENSOR_SOURCE] = {"What cbsensor cannot read", "machine,source"},
    [CB_SCHEMA_FORMULA] = {"cbformula about itself", ""},
    [CB_SCHEMA_SINK] = {"Recaps for other stores", "sink"},
    [CB_SCHEMA_STREAM] = {"Rows for other stores", "sink"},
};

const struct cb_schema_metric *cb_schema(enum cb_schema_id id)
{
    return &metrics[id];
}

const struct cb_schema_metric *cb_schema_find(const char *name)
{
    for (size_t i = 0; i < CB_SCHEMA_COUNT; i++)
        if (strcmp(metrics[i].name, name) == 0)
            return &metrics[i];
    return NULL;
}

const struct cb_schema_metric *cb_schema_find_prometheus(const char *name)
{
    for (size_t i = 0; i < CB_SCHEMA_COUNT; i++)
        if (metrics[i].prometheus && strcmp(metrics[i].prometheus, name) == 0)
            return &metrics[i];
    return NULL;
}

const char *cb_schema_kind_name(enum cb_schema_kind kind)
{
    static const char *const names[] = {"counter", "gauge", "text"};

    return names[kind];
}

const char *cb_schema_labels(enum cb_schema_scope scope)
{
    return scopes[scope].labels;
}

const char *cb_schema_measurement(enum cb_schema_scope scope)
{
    return scopes[scope].measurement;
}

static const char *text(const char *text_or_null)
{
    return text_or_null ? text_or_null : "";
}

void cb_schema_print(FILE *out)
{
    (void)fputs("name\tunit\tkind\tprometheus\tlabels\thelp\tkepler\tmeasurement\n", out);
    for (size_t i = 0; i < CB_SCHEMA_COUNT; i++)
        (void)fprintf(out, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", metrics[i].name, metrics[i].unit,
                      cb_schema_kind_name(metrics[i].kind),
                      metrics[i].prometheus ? metrics[i].prometheus : "",
                      metrics[i].prometheus ? scopes[metrics[i].scope].labels : "", metrics[i].help,
                      text(metrics[i].kepler), text(scopes[metrics[i].scope].measurement));
}

void cb_schema_print_markdown(FILE *out)
{
    (void)fputs("# Metrics\n\n"
                "Made from `lib/schema.c`: change it there. Counters are differences over the "
                "interval in frames and\nstores; in `/metrics` they only grow.\n",
                out);
    for (size_t scope = 0; scope < CB_SCHEMA_SCOPES; scope++) {
        (void)fprintf(out, "\n## %s\n\n", scopes[scope].title);
        if (scopes[scope].labels[0])
            (void)fprintf(out, "Labels in `/metrics`: `%s`\n\n", scopes[scope].labels);
        if (scopes[scope].measurement)
            (void)fprintf(out, "Measurement in InfluxDB, kind of a row in files: `%s`\n\n",
                          scopes[scope].measurement);
        (void)fputs("| name | unit | kind | in `/metrics` | what it is |\n|---|---|---|---|---|\n",
                    out);
        for (size_t i = 0; i < CB_SCHEMA_COUNT; i++) {
            const struct cb_schema_metric *m = &metrics[i];

            if (m->scope != scope)
                continue;
            (void)fprintf(out, "| `%s` | %s | %s | %s%s%s | %s", m->name, m->unit,
                          cb_schema_kind_name(m->kind), m->prometheus ? "`" : "",
                          text(m->prometheus), m->prometheus ? "`" : "", m->help);
            if (m->kepler)
                (void)fprintf(out, " As `%s` with Kepler's names.", m->kepler);
            (void)fputs(" |\n", out);
        }
    }
}
