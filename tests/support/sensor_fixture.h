/* SPDX-License-Identifier: Apache-2.0 */
/* sensor_fixture.h - small frames of a made-up machine with two containers, for tests that need a
 * sensor but not a machine. */
#ifndef CB_TESTS_SENSOR_FIXTURE_H
#define CB_TESTS_SENSOR_FIXTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/frame.h"

struct sensor_fixture {
    const char *name;
    const char *boot_id;
    const char *start_id;
    uint64_t seed;
    uint64_t length_ns;
    uint64_t t0_ns; /* of the first frame */
    uint64_t lost_frames, self_cpu_ns;
    size_t n_gaps;
    struct cb_frame_gap *gaps;
    bool dictionary; /* the frame carries its targets' texts */
    struct cb_frame_encoder *encoder;
};

/* Encode frame @seq: always the same bytes for the same fixture and seq. The bytes are the
 * encoder's. Targets 1 (id of 64 times 'a', "alpha") and 2 (64 times 'b', "beta"), one socket with
 * package and dram. */
void sensor_fixture_frame(struct sensor_fixture *sensor, uint64_t seq, const uint8_t **ret_bytes,
                          size_t *ret_size);
/* Energy of that frame, package and dram. */
uint64_t sensor_fixture_energy_uj(const struct sensor_fixture *sensor, uint64_t seq,
                                  enum cb_domain domain);

#endif
