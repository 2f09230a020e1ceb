/* SPDX-License-Identifier: Apache-2.0 */
/* stream_fixture.h - one row of a stream with awkward names: machine "node 1", second 1700000000,
 * dram of socket 1 (estimate): energy 100 = idle 30 + system 20 + unattributed 1 + container 49. */
#ifndef CB_TESTS_STREAM_FIXTURE_H
#define CB_TESTS_STREAM_FIXTURE_H

#include "formula/stream.h"

struct stream_fixture {
    struct cb_stream_bin bin;
    struct cb_stream_domain domain;
    struct cb_stream_share share;
    struct cb_stream_target target, *targets[1];
};

void stream_fixture_init(struct stream_fixture *fixture);

#endif
