/* SPDX-License-Identifier: Apache-2.0 */
/* engine_private.h - what engine.c and engine_snapshot.c share. */
#ifndef CB_FORMULA_ENGINE_PRIVATE_H
#define CB_FORMULA_ENGINE_PRIVATE_H

#include "formula/attribute.h"
#include "formula/engine.h"
#include "formula/features.h"
#include "formula/model_cbwatts.h"
#include "formula/model_cputime.h"

struct cb_engine_model {
    uint16_t socket;
    uint8_t domain;
    double frequency; /* the last one known */
    union {
        struct cb_cbwatts cbwatts;
        struct cb_cputime cputime[CB_WEIGHTS]; /* nanoseconds and cycles are not one line */
    };
};

struct cb_engine {
    enum cb_model_kind kind;
    uint64_t violations;
    struct cb_column_table columns;
    size_t n_models;
    struct cb_engine_model **models;
    /* reused from frame to frame */
    struct cb_features features;
    size_t room;
    struct cb_attribute_work *work;
    double *predictions;
    uint64_t *parts;
};

/* A new, empty model; the engine owns it. -ENOMEM */
int cb_engine_add_model(struct cb_engine *engine, uint16_t socket, uint8_t domain,
                        struct cb_engine_model **ret_model, struct cb_err *err) cb_must_check;

#endif
