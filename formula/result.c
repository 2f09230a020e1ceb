/* SPDX-License-Identifier: Apache-2.0 */
/* result.c - see result.h. The packed form is described in docs/store.md. */
#include "formula/result.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "lib/err.h"

#define PACK_VERSION 1
#define VARINT_MAX 10 /* bytes of the longest varint */
#define DOMAIN_MAX_BYTES (2 + 1 + 1 + 4 + 5 * VARINT_MAX + 4 * 4 + 8)
#define SHARE_MAX_BYTES (VARINT_MAX + 2 * 4)
#define TARGET_MAX_BYTES (VARINT_MAX * 2)
#define HEAD_MAX_BYTES (1 + 6 * VARINT_MAX)
#define KNOWN_FLAGS (CB_RESULT_PRIOR | CB_RESULT_NO_SYSTEM | CB_RESULT_GAP)

uint64_t cb_result_halfwidth(double param_uj, double noise_uj, uint64_t bound_uj)
{
    double halfwidth = ceil(hypot(param_uj, noise_uj));

    /* written so that NaN and infinity end at the bound */
    if (!(halfwidth < (double)bound_uj))
        return bound_uj;
    return (uint64_t)halfwidth;
}

uint64_t cb_result_by_cpu_uj(const struct cb_result *result, uint64_t cpu_ns)
{
    uint64_t dynamic_uj = 0;

    if (result->machine_cpu_ns == CB_STAT_ABSENT || result->machine_cpu_ns == 0)
        return 0;
    for (size_t d = 0; d < result->n_domains; d++) {
        const struct cb_result_domain *domain = &result->domains[d];

        if (cb_domain_is_top((enum cb_domain)domain->domain))
            dynamic_uj += domain->energy_uj - domain->idle_uj - domain->unattributed_uj;
    }
    if (cpu_ns >= result->machine_cpu_ns) /* two clocks that do not tick at the same moment */
        return dynamic_uj;
    return (uint64_t)((unsigned __int128)dynamic_uj * cpu_ns / result->machine_cpu_ns);
}

size_t cb_result_violations(const struct cb_result *result)
{
    size_t n = 0;

    for (size_t d = 0; d < result->n_domains; d++) {
        const struct cb_result_domain *domain = &result->domains[d];
        const struct cb_share *shares = result->shares + d * result->n_targets;
        unsigned __int128 sum = (unsigned __int128)domain->idle_uj + domain->system_uj;

        sum += domain->unattributed_uj;
        for (size_t i = 0; i < result->n_targets; i++)
            sum += shares[i].dynamic_uj;
        n += sum != domain->energy_uj;
    }
    return n;
}

/* The old arrays go only when all new ones are there. */
static int grow(struct cb_result *result, size_t n_domains, size_t n_targets, struct cb_err *err)
{
    size_t room = n_targets ? n_targets : 1;
    cb_auto_free struct cb_result_domain *domains = calloc(n_domains, sizeof(*domains));
    cb_auto_free uint32_t *ids = calloc(room, sizeof(*ids));
    cb_auto_free uint64_t *cpu_ns = calloc(room, sizeof(*cpu_ns));
    cb_auto_free struct cb_share *shares = calloc(n_domains * room, sizeof(*shares));

    if (!domains || !ids || !cpu_ns || !shares)
        return cb_err_set(err, ENOMEM, "out of memory for a result of %zu domains, %zu targets",
                          n_domains, n_targets);
    cb_result_clear(result);
    result->domains = cb_take(domains);
    result->target_ids = cb_take(ids);
    result->target_cpu_ns = cb_take(cpu_ns);
    result->shares = cb_take(shares);
    result->capacity_domains = n_domains;
    result->capacity_targets = n_targets;
    return 0;
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

int cb_result_reserve(struct cb_result *result, size_t n_domains, size_t n_targets,
                      struct cb_err *err)
{
    if (!result->domains || n_domains > result->capacity_domains ||
        n_targets > result->capacity_targets) {
        size_t domains = larger(larger(n_domains, result->capacity_domains), 1);
        size_t targets = larger(n_targets, result->capacity_targets);
        int r;

        if (targets > result->capacity_targets) /* so that growing one by one stays cheap */
            targets += targets / 2;
        r = grow(result, domains, targets, err);
        if (r < 0)
            return r;
    }
    memset(result->domains, 0, n_domains * sizeof(*result->domains));
    memset(result->target_ids, 0, n_targets * sizeof(*result->target_ids));
    memset(result->target_cpu_ns, 0, n_targets * sizeof(*result->target_cpu_ns));
    memset(result->shares, 0, n_domains * n_targets * sizeof(*result->shares));
    result->t0_ns = result->t1_ns = result->wall_ns = result->machine_cpu_ns = 0;
    result->n_domains = n_domains;
    result->n_targets = n_targets;
    return 0;
}

void cb_result_clear(struct cb_result *result)
{
    free(result->domains);
    free(result->target_ids);
    free(result->target_cpu_ns);
    free(result->shares);
    *result = (struct cb_result){0};
}

/* --- the packed form --- */

static uint8_t *put_varint(uint8_t *at, uint64_t value)
{
    while (value >= 0x80) {
        *at++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *at++ = (uint8_t)value;
    return at;
}

static uint8_t *put_bits(uint8_t *at, uint64_t bits, size_t size)
{
    for (size_t i = 0; i < size; i++)
        *at++ = (uint8_t)(bits >> (8 * i));
    return at;
}

static uint8_t *put_float(uint8_t *at, float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof(bits));
    return put_bits(at, bits, sizeof(bits));
}

static uint8_t *put_double(uint8_t *at, double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof(bits));
    return put_bits(at, bits, sizeof(bits));
}

static uint8_t *put_domain(uint8_t *at, const struct cb_result_domain *domain)
{
    at = put_bits(at, domain->socket, 2);
    at = put_bits(at, domain->domain, 1);
    at = put_bits(at, domain->source, 1);
    at = put_bits(at, domain->flags, 4);
    at = put_varint(at, domain->energy_uj);
    at = put_varint(at, domain->idle_uj);
    at = put_varint(at, domain->system_uj);
    at = put_varint(at, domain->unattributed_uj);
    at = put_varint(at, domain->source_uncertainty_uj);
    at = put_float(at, domain->system_param_uj);
    at = put_float(at, domain->system_noise_uj);
    at = put_float(at, domain->idle_param_uj);
    at = put_float(at, domain->idle_noise_uj);
    return put_double(at, domain->predicted_w);
}

/* An absent CPU time is a single 0, a known one is itself + 1: small and exact. */
static uint8_t *put_cpu(uint8_t *at, uint64_t cpu_ns)
{
    return put_varint(at, cpu_ns + 1); /* CB_STAT_ABSENT + 1 == 0 */
}

int cb_result_pack(const struct cb_result *result, uint8_t **ret_bytes, size_t *ret_size,
                   struct cb_err *err)
{
    size_t n_shares = result->n_domains * result->n_targets;
    size_t most = HEAD_MAX_BYTES + result->n_domains * DOMAIN_MAX_BYTES +
                  result->n_targets * TARGET_MAX_BYTES + n_shares * SHARE_MAX_BYTES;
    uint8_t *bytes = malloc(most);
    uint8_t *at = bytes;

    if (!bytes)
        return cb_err_set(err, ENOMEM, "out of memory for a packed result of %zu bytes", most);
    *at++ = PACK_VERSION;
    at = put_varint(at, result->t0_ns);
    at = put_varint(at, result->t1_ns);
    at = put_varint(at, result->wall_ns);
    at = put_cpu(at, result->machine_cpu_ns);
    at = put_varint(at, result->n_domains);
    at = put_varint(at, result->n_targets);
    for (size_t d = 0; d < result->n_domains; d++)
        at = put_domain(at, &result->domains[d]);
    for (size_t i = 0; i < result->n_targets; i++) {
        at = put_varint(at, result->target_ids[i]);
        at = put_cpu(at, result->target_cpu_ns[i]);
    }
    for (size_t i = 0; i < n_shares; i++) {
        at = put_varint(at, result->shares[i].dynamic_uj);
        at = put_float(at, result->shares[i].param_uj);
        at = put_float(at, result->shares[i].noise_uj);
    }
    *ret_bytes = bytes;
    *ret_size = (size_t)(at - bytes);
    return 0;
}

/* Reads on after a failure give 0; `bad` keeps the first field that failed. */
struct reader {
    const uint8_t *at, *end;
    const char *bad;
};

static void fail(struct reader *reader, const char *field)
{
    if (!reader->bad)
        reader->bad = field;
    reader->at = reader->end;
}

static uint64_t get_bits(struct reader *reader, size_t size, const char *field)
{
    uint64_t bits = 0;

    if ((size_t)(reader->end - reader->at) < size) {
        fail(reader, field);
        return 0;
    }
    for (size_t i = 0; i < size; i++)
        bits |= (uint64_t)*reader->at++ << (8 * i);
    return bits;
}

/* Only the shortest form is valid, so that equal results are equal bytes. */
static uint64_t get_varint(struct reader *reader, const char *field)
{
    uint64_t value = 0;

    for (unsigned shift = 0; shift < 64 && reader->at < reader->end; shift += 7) {
        uint8_t byte = *reader->at++;

        if ((shift == 63 && byte > 1) || (shift > 0 && byte == 0))
            break;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return value;
    }
    fail(reader, field);
    return 0;
}

static float get_halfwidth(struct reader *reader, const char *field)
{
    uint32_t bits = (uint32_t)get_bits(reader, 4, field);
    float value;

    memcpy(&value, &bits, sizeof(value));
    if (!isfinite(value) || value < 0) {
        fail(reader, field);
        return 0;
    }
    return value;
}

static double get_double(struct reader *reader, const char *field)
{
    uint64_t bits = get_bits(reader, 8, field);
    double value;

    memcpy(&value, &bits, sizeof(value));
    if (isinf(value))
        fail(reader, field);
    return value;
}

static void get_domain(struct reader *reader, struct cb_result_domain *domain)
{
    domain->socket = (uint16_t)get_bits(reader, 2, "socket");
    domain->domain = (uint8_t)get_bits(reader, 1, "domain");
    domain->source = (uint8_t)get_bits(reader, 1, "source");
    domain->flags = (uint32_t)get_bits(reader, 4, "flags");
    if (domain->domain >= CB_DOMAIN_COUNT)
        fail(reader, "domain");
    if (domain->source >= CB_SOURCE_COUNT)
        fail(reader, "source");
    if (domain->flags & ~(uint32_t)KNOWN_FLAGS)
        fail(reader, "flags");
    domain->energy_uj = get_varint(reader, "energy_uj");
    domain->idle_uj = get_varint(reader, "idle_uj");
    domain->system_uj = get_varint(reader, "system_uj");
    domain->unattributed_uj = get_varint(reader, "unattributed_uj");
    domain->source_uncertainty_uj = get_varint(reader, "source_uncertainty_uj");
    domain->system_param_uj = get_halfwidth(reader, "system_param_uj");
    domain->system_noise_uj = get_halfwidth(reader, "system_noise_uj");
    domain->idle_param_uj = get_halfwidth(reader, "idle_param_uj");
    domain->idle_noise_uj = get_halfwidth(reader, "idle_noise_uj");
    domain->predicted_w = get_double(reader, "predicted_w");
}

static uint64_t get_cpu(struct reader *reader, const char *field)
{
    return get_varint(reader, field) - 1;
}

static void get_target(struct reader *reader, uint32_t *ret_id, uint64_t *ret_cpu_ns)
{
    uint64_t id = get_varint(reader, "target_id");

    if (id > UINT32_MAX)
        fail(reader, "target_id");
    *ret_id = (uint32_t)id;
    *ret_cpu_ns = get_cpu(reader, "target_cpu_ns");
}

static void get_share(struct reader *reader, struct cb_share *share)
{
    share->dynamic_uj = get_varint(reader, "dynamic_uj");
    share->param_uj = get_halfwidth(reader, "param_uj");
    share->noise_uj = get_halfwidth(reader, "noise_uj");
}

static int bad_field(const struct reader *reader, struct cb_err *err)
{
    return cb_err_set(err, EBADMSG, "packed result: bad or truncated field '%s'", reader->bad);
}

/* The smallest bytes that so many entries can have: bounds what a short input can allocate. */
static bool counts_fit(const struct reader *reader, uint64_t n_domains, uint64_t n_targets)
{
    uint64_t left = (uint64_t)(reader->end - reader->at);

    return n_domains <= CB_FRAME_MAX_ENERGIES && n_targets <= CB_FRAME_MAX_TARGETS &&
           n_domains * (DOMAIN_MAX_BYTES - 5 * (VARINT_MAX - 1)) + n_targets * 2 +
                   n_domains * n_targets * (SHARE_MAX_BYTES - (VARINT_MAX - 1)) <=
               left;
}

static void get_body(struct reader *reader, struct cb_result *result)
{
    for (size_t d = 0; d < result->n_domains; d++)
        get_domain(reader, &result->domains[d]);
    for (size_t i = 0; i < result->n_targets; i++)
        get_target(reader, &result->target_ids[i], &result->target_cpu_ns[i]);
    for (size_t i = 0; i < result->n_domains * result->n_targets; i++)
        get_share(reader, &result->shares[i]);
    if (!reader->bad && reader->at != reader->end)
        fail(reader, "end");
}

int cb_result_unpack(const uint8_t *bytes, size_t size, struct cb_result *result,
                     struct cb_err *err)
{
    struct reader reader = {.at = bytes, .end = bytes + size};
    uint64_t version = get_bits(&reader, 1, "version");
    uint64_t t0_ns = get_varint(&reader, "t0_ns");
    uint64_t t1_ns = get_varint(&reader, "t1_ns");
    uint64_t wall_ns = get_varint(&reader, "wall_ns");
    uint64_t machine_cpu_ns = get_cpu(&reader, "machine_cpu_ns");
    uint64_t n_domains = get_varint(&reader, "n_domains");
    uint64_t n_targets = get_varint(&reader, "n_targets");
    int r;

    if (version != PACK_VERSION)
        return cb_err_set(err, EBADMSG, "packed result: version %u, this program reads %u",
                          (unsigned)version, PACK_VERSION);
    if (!reader.bad && !counts_fit(&reader, n_domains, n_targets))
        fail(&reader, "n_targets");
    if (reader.bad)
        return bad_field(&reader, err);
    r = cb_result_reserve(result, n_domains, n_targets, err);
    if (r < 0)
        return r;
    result->t0_ns = t0_ns;
    result->t1_ns = t1_ns;
    result->wall_ns = wall_ns;
    result->machine_cpu_ns = machine_cpu_ns;
    get_body(&reader, result);
    return reader.bad ? bad_field(&reader, err) : 0;
}
