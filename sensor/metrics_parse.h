/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metrics_parse.h - the forms in which a container's statistics are written. Pure functions.
 *
 * Source   the kernel's Documentation/admin-guide/cgroup-v2.rst,
 * cgroup-v1/{memory,blkio-controller, cpuacct}.rst, accounting/psi.rst, proc(5) (net/dev). Result
 * @values[key.metric] is written for what the text holds and left alone otherwise; a line that is
 * not of the form is passed over. Nothing is allocated.
 */
#ifndef CB_SENSOR_METRICS_PARSE_H
#define CB_SENSOR_METRICS_PARSE_H

#include <stdint.h>

/* Which word of a file becomes which value, and in what unit: value = number x times. */
struct cb_metrics_key {
    const char *word;
    uint32_t times; /* 0: no further key */
    uint8_t metric;
};

/* The words of each form are named at its function; @keys ends at the first with times == 0. */
typedef void cb_metrics_parser(const char *text, const struct cb_metrics_key *keys,
                               uint64_t *values);

/* One number: keys[0], word unused. No limit ("max", or v1's 2^63 less a page) is none. */
cb_metrics_parser cb_metrics_parse_number;

/* "anon 4096\nfile 0\n": word "anon". */
cb_metrics_parser cb_metrics_parse_keyed;

/* "8:0 rbytes=1 wbytes=2\n", a line for each device: word "rbytes", summed over the devices; 0 for
 * an empty text. */
cb_metrics_parser cb_metrics_parse_nested;

/* "8:0 Read 1\n8:0 Write 2\nTotal 3\n": word "Read", summed over the devices. A text without a
 * device tells nothing: recent kernels count only for devices that have a policy. */
cb_metrics_parser cb_metrics_parse_blkio;

/* "some avg10=0.00 avg60=0.00 avg300=0.00 total=123\n": word "some", the number after total=. */
cb_metrics_parser cb_metrics_parse_pressure;

/* /proc/net/dev: words "rx_bytes", "rx_packets", "tx_bytes", "tx_packets", summed over all
 * interfaces but "lo", which carries what the container sends to itself. */
cb_metrics_parser cb_metrics_parse_netdev;

#endif
