/* SPDX-License-Identifier: Apache-2.0 */
/* stream_fixture.c - see stream_fixture.h. */
#include "tests/support/stream_fixture.h"

#include <stdio.h>

void stream_fixture_init(struct stream_fixture *fixture)
{
    *fixture = (struct stream_fixture){
        .domain = {.socket = 1,
                   .domain = CB_DOMAIN_DRAM,
                   .source = CB_SOURCE_ESTIMATE,
                   .energy_uj = 100,
                   .idle_uj = 30,
                   .system_uj = 20,
                   .unattributed_uj = 1,
                   .source_uj = 7},
        .share = {.dynamic_uj = 49, .param_uj = 3, .noise2_uj2 = 16},
        .target = {.identity = "c0ffee", .cpu_ns = 5, .has_metrics = true},
        .bin = {.machine = "node 1",
                .boot_id = "boot",
                .wall_ns = INT64_C(1700000000000000000),
                .resolution_ns = CB_NS_PER_S,
                .t0_ns = 1,
                .t1_ns = 1 + CB_NS_PER_S / 2,
                .covered_ns = CB_NS_PER_S / 2,
                .n_domains = 1,
                .n_targets = 1,
                .stride = 1},
    };
    (void)snprintf(fixture->target.text.container_id, CB_STORE_ID_SIZE, "c0ffee");
    (void)snprintf(fixture->target.text.name, CB_STORE_TEXT_SIZE, "a,\"b\"\n");
    (void)snprintf(fixture->target.text.image, CB_STORE_TEXT_SIZE, "img=1");
    for (size_t i = 0; i < CB_STREAM_METRICS; i++)
        fixture->target.metrics[i] = CB_STAT_ABSENT;
    fixture->target.metrics[CB_SCHEMA_PIDS - CB_STREAM_METRIC_FIRST] = 12;
    fixture->targets[0] = &fixture->target;
    fixture->bin.domains = &fixture->domain;
    fixture->bin.targets = fixture->targets;
    fixture->bin.shares = &fixture->share;
}
