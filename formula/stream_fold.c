/* SPDX-License-Identifier: Apache-2.0 */
/* stream_fold.c - see stream_fold.h. */
#include "formula/stream_fold.h"

#include <errno.h>
#include <string.h>

#include "formula/map.h"
#include "lib/err.h"
#include "lib/fnv.h"

/* The piece [lo, hi) of a frame that is `length` long, all in ns from its begin. */
struct piece {
    uint64_t lo, hi, length;
};

#define KNOWN_SPARE 64 /* targets with their texts beyond twice those of the last bin */

/* A target of a sensor start with its text. */
struct known {
    struct cb_stream_target target;
    uint64_t hash; /* of its identity */
    uint64_t bin;  /* the last one it was in, */
    size_t at;     /* there under this number */
};

struct cb_fold {
    char machine[CB_NAME_SIZE];
    uint64_t resolution_ns;
    const struct cb_fold_callbacks *callbacks;
    struct cb_fold_mark mark;
    int64_t last_frame; /* the last one that was added */
    uint64_t last_t1_ns;
    /* the open bin */
    bool open;
    int64_t open_frame;
    int64_t open_ns; /* its wall_ns */
    uint32_t open_again;
    bool open_passes; /* it begins a new pass */
    int64_t boot_of_id;
    char boot_id[CB_BOOT_ID_SIZE];
    struct cb_stream_bin bin;
    size_t domain_capacity, target_capacity, share_rows;
    struct cb_stream_domain *domains;
    struct cb_stream_target **targets; /* those of `known` */
    struct cb_stream_share *shares;    /* share_rows * bin.stride */
    struct cb_map by_identity;         /* hash of the identity to index */
    /* over all bins */
    uint64_t n_bins;
    uint64_t texts; /* as they were told at the last bin's begin */
    size_t n_known, known_capacity;
    struct known **known;
    struct cb_map by_target; /* (start, target) to index in `known` */
};

static int no_memory(struct cb_err *err)
{
    return cb_err_set(err, ENOMEM, "out of memory for a row");
}

int cb_fold_new(const char *machine, uint64_t resolution_ns, const struct cb_fold_mark *mark,
                const struct cb_fold_callbacks *callbacks, struct cb_fold **ret_fold,
                struct cb_err *err)
{
    struct cb_fold *fold = calloc(1, sizeof(*fold));

    if (!fold)
        return no_memory(err);
    (void)snprintf(fold->machine, sizeof(fold->machine), "%s", machine);
    fold->resolution_ns = resolution_ns;
    fold->callbacks = callbacks;
    if (mark)
        fold->mark = *mark;
    fold->last_frame = fold->mark.frame;
    fold->last_t1_ns = fold->mark.part_ns;
    *ret_fold = fold;
    return 0;
}

static void forget_targets(struct cb_fold *fold)
{
    for (size_t i = 0; i < fold->n_known; i++)
        free(fold->known[i]);
    fold->n_known = 0;
    cb_map_clear(&fold->by_target);
}

struct cb_fold *cb_fold_free(struct cb_fold *fold)
{
    if (!fold)
        return NULL;
    forget_targets(fold);
    free(fold->known);
    free(fold->targets);
    free(fold->domains);
    free(fold->shares);
    cb_map_clear(&fold->by_identity);
    free(fold);
    return NULL;
}

bool cb_fold_is_open(const struct cb_fold *fold)
{
    return fold->open;
}

int64_t cb_fold_open_frame(const struct cb_fold *fold)
{
    return fold->open_frame;
}

const struct cb_fold_mark *cb_fold_mark(const struct cb_fold *fold)
{
    return &fold->mark;
}

/* ---- the open bin's arrays ---- */

static int grow_domains(struct cb_fold *fold)
{
    size_t n = fold->domain_capacity ? 2 * fold->domain_capacity : 8;
    size_t rows = fold->share_rows ? fold->share_rows : 8;
    struct cb_stream_domain *domains = calloc(n, sizeof(*domains));
    struct cb_stream_share *shares = calloc(rows * n, sizeof(*shares));

    if (!domains || !shares) {
        free(domains);
        free(shares);
        return -ENOMEM;
    }
    if (fold->bin.n_domains)
        memcpy(domains, fold->domains, fold->bin.n_domains * sizeof(*domains));
    for (size_t t = 0; t < fold->bin.n_targets; t++)
        memcpy(shares + t * n, fold->shares + t * fold->bin.stride,
               fold->bin.n_domains * sizeof(*shares));
    free(fold->domains);
    free(fold->shares);
    fold->domains = domains;
    fold->shares = shares;
    fold->share_rows = rows;
    fold->domain_capacity = fold->bin.stride = n;
    return 0;
}

static int find_domain(struct cb_fold *fold, const struct cb_result_domain *from, size_t *ret_index)
{
    struct cb_stream_domain *domain;
    size_t i;

    for (i = 0; i < fold->bin.n_domains; i++) {
        domain = &fold->domains[i];
        if (domain->socket == from->socket && domain->domain == from->domain &&
            domain->source == from->source) {
            *ret_index = i;
            return 0;
        }
    }
    if (i == fold->domain_capacity && grow_domains(fold) < 0)
        return -ENOMEM;
    fold->domains[i] = (struct cb_stream_domain){
        .socket = from->socket, .domain = from->domain, .source = from->source};
    fold->bin.n_domains++;
    *ret_index = i;
    return 0;
}

static int grow_targets(struct cb_fold *fold)
{
    size_t n = fold->target_capacity ? 2 * fold->target_capacity : 16;
    struct cb_stream_target **targets =
        realloc(fold->targets, n * sizeof(struct cb_stream_target *));

    if (!targets)
        return -ENOMEM;
    fold->targets = targets;
    fold->target_capacity = n;
    return 0;
}

static int grow_shares(struct cb_fold *fold)
{
    size_t rows = 2 * fold->share_rows;
    struct cb_stream_share *shares =
        realloc(fold->shares, rows * fold->bin.stride * sizeof(*shares));

    if (!shares)
        return -ENOMEM;
    fold->shares = shares;
    fold->share_rows = rows;
    return 0;
}

/* The next target of the bin, empty. */
static int add_target(struct cb_fold *fold, struct cb_stream_target *target)
{
    size_t i = fold->bin.n_targets;

    if (i == fold->target_capacity && grow_targets(fold) < 0)
        return -ENOMEM;
    if (fold->bin.stride == 0 && grow_domains(fold) < 0)
        return -ENOMEM;
    if (i == fold->share_rows && grow_shares(fold) < 0)
        return -ENOMEM;
    memset(&fold->shares[i * fold->bin.stride], 0, fold->bin.stride * sizeof(*fold->shares));
    target->cpu_ns = CB_STAT_ABSENT;
    target->has_metrics = false;
    for (size_t m = 0; m < CB_STREAM_METRICS; m++)
        target->metrics[m] = CB_STAT_ABSENT;
    fold->targets[i] = target;
    fold->bin.n_targets++;
    return 0;
}

/* Two targets may be one container: it was started again, or the sensor was. */
static bool find_identity(const struct cb_fold *fold, const char *identity, uint64_t hash,
                          size_t *ret_index)
{
    uint64_t i;

    if (!cb_map_get(&fold->by_identity, hash, &i))
        return false;
    if (strcmp(fold->targets[i]->identity, identity) != 0)
        for (i = 0; i < fold->bin.n_targets; i++)
            if (strcmp(fold->targets[i]->identity, identity) == 0)
                break;
    *ret_index = i;
    return i < fold->bin.n_targets;
}

static int read_text(struct cb_fold *fold, struct known *known, int64_t start, uint32_t id,
                     struct cb_err *err)
{
    struct cb_store_target *text = &known->target.text;
    int r;

    *text = (struct cb_store_target){.start = start, .target = id};
    r = fold->callbacks->text(fold->callbacks->context, text, err);
    if (r < 0 && r != -ENOENT)
        return r;
    cb_store_target_identity(text, known->target.identity);
    known->hash = cb_fnv_text(CB_FNV_BEGIN, known->target.identity);
    return 0;
}

static int new_known(struct cb_fold *fold, uint64_t key, struct known **ret_known,
                     struct cb_err *err)
{
    struct known *known;

    if (fold->n_known == fold->known_capacity) {
        size_t n = fold->known_capacity ? 2 * fold->known_capacity : 16;
        struct known **moved = realloc(fold->known, n * sizeof(struct known *));

        if (!moved)
            return no_memory(err);
        fold->known = moved;
        fold->known_capacity = n;
    }
    known = malloc(sizeof(*known));
    if (!known || cb_map_put(&fold->by_target, key, fold->n_known) < 0) {
        free(known);
        return no_memory(err);
    }
    known->bin = 0;
    fold->known[fold->n_known++] = *ret_known = known;
    return 0;
}

/* What has no text yet is asked for again in each bin. */
static int find_known(struct cb_fold *fold, int64_t start, uint32_t id, struct known **ret_known,
                      struct cb_err *err)
{
    uint64_t key = cb_map_target_key(start, id);
    uint64_t i;
    int r;

    if (cb_map_get(&fold->by_target, key, &i)) {
        *ret_known = fold->known[i];
        if ((*ret_known)->target.text.known || (*ret_known)->bin == fold->n_bins)
            return 0;
    } else {
        r = new_known(fold, key, ret_known, err);
        if (r < 0)
            return r;
    }
    return read_text(fold, *ret_known, start, id, err);
}

static int find_target(struct cb_fold *fold, int64_t start, uint32_t id, size_t *ret_index,
                       struct cb_err *err)
{
    struct known *known = NULL;
    int r = find_known(fold, start, id, &known, err);

    if (r < 0)
        return r;
    if (known->bin != fold->n_bins) {
        if (!find_identity(fold, known->target.identity, known->hash, &known->at)) {
            known->at = fold->bin.n_targets;
            if (add_target(fold, &known->target) < 0 ||
                cb_map_put(&fold->by_identity, known->hash, known->at) < 0)
                return no_memory(err);
        }
        known->bin = fold->n_bins;
    }
    *ret_index = known->at;
    return 0;
}

/* ---- adding a piece ---- */

static uint64_t portion(const struct piece *piece, uint64_t value)
{
    return (uint64_t)((unsigned __int128)value * piece->hi / piece->length) -
           (uint64_t)((unsigned __int128)value * piece->lo / piece->length);
}

static void add_known(uint64_t *sum, uint64_t value, const struct piece *piece)
{
    if (value != CB_STAT_ABSENT)
        *sum = (*sum == CB_STAT_ABSENT ? 0 : *sum) + portion(piece, value);
}

/* As in recap.c: parameters' part adds linearly, noise in quadrature, and a cut is not known. */
static uint64_t add_share(struct cb_stream_share *to, const struct cb_share *share,
                          const struct cb_result_domain *from, const struct piece *piece)
{
    uint64_t dynamic = portion(piece, share->dynamic_uj);
    double part = (double)(piece->hi - piece->lo) / (double)piece->length;
    double noise = share->noise_uj * part;
    double cut = (double)share->dynamic_uj * (part < 0.5 ? part : 1 - part);

    to->dynamic_uj += dynamic;
    to->param_uj += share->param_uj * part;
    to->noise2_uj2 += noise * noise + cut * cut;
    if (from->energy_uj > 0)
        to->source_uj += (double)from->source_uncertainty_uj * part *
                         ((double)share->dynamic_uj / (double)from->energy_uj);
    return dynamic;
}

static int add_domain(struct cb_fold *fold, const struct cb_result *result, size_t d,
                      const size_t *whose, const struct piece *piece, struct cb_err *err)
{
    const struct cb_result_domain *from = &result->domains[d];
    const struct cb_share *shares = result->shares + d * result->n_targets;
    double part = (double)(piece->hi - piece->lo) / (double)piece->length;
    uint64_t idle = portion(piece, from->idle_uj);
    uint64_t system = portion(piece, from->system_uj);
    uint64_t unattributed = portion(piece, from->unattributed_uj);
    uint64_t energy = idle + system + unattributed;
    struct cb_stream_domain *domain;
    size_t to;

    if (find_domain(fold, from, &to) < 0)
        return no_memory(err);
    for (size_t i = 0; i < result->n_targets; i++)
        energy +=
            add_share(&fold->shares[whose[i] * fold->bin.stride + to], &shares[i], from, piece);
    domain = &fold->domains[to];
    domain->flags |= from->flags;
    domain->energy_uj += energy;
    domain->idle_uj += idle;
    domain->system_uj += system;
    domain->unattributed_uj += unattributed;
    domain->source_uj += (double)from->source_uncertainty_uj * part;
    return 0;
}

static int add_piece(struct cb_fold *fold, int64_t start, const struct cb_result *result,
                     uint64_t from_ns, uint64_t to_ns, struct cb_err *err)
{
    const struct piece piece = {.lo = from_ns - result->t0_ns,
                                .hi = to_ns - result->t0_ns,
                                .length = result->t1_ns - result->t0_ns};
    cb_auto_free size_t *whose = calloc(result->n_targets + 1, sizeof(*whose));
    int r = 0;

    if (!whose)
        return no_memory(err);
    for (size_t i = 0; i < result->n_targets && r == 0; i++) {
        r = find_target(fold, start, result->target_ids[i], &whose[i], err);
        if (r == 0)
            add_known(&fold->targets[whose[i]]->cpu_ns, result->target_cpu_ns[i], &piece);
    }
    for (size_t d = 0; d < result->n_domains && r == 0; d++)
        r = add_domain(fold, result, d, whose, &piece, err);
    if (r < 0)
        return r;
    add_known(&fold->bin.machine_cpu_ns, result->machine_cpu_ns, &piece);
    if (fold->bin.covered_ns == 0)
        fold->bin.t0_ns = from_ns;
    fold->bin.t1_ns = to_ns;
    fold->bin.covered_ns += to_ns - from_ns;
    return 0;
}

/* ---- what containers used besides energy ---- */

static void add_metric(uint64_t *to, uint64_t value, bool counter)
{
    if (value == CB_STAT_ABSENT)
        return;
    *to = counter && *to != CB_STAT_ABSENT ? *to + value : value;
}

static int add_column(struct cb_fold *fold, int64_t start, const struct cb_usage *usage,
                      size_t column, const char *name, struct cb_err *err)
{
    const struct cb_schema_metric *metric = cb_schema_find(name);
    ptrdiff_t which = metric ? metric - cb_schema(CB_STREAM_METRIC_FIRST) : -1;

    if (which < 0 || which >= CB_STREAM_METRICS)
        return 0;
    for (size_t i = 0; i < usage->n_targets; i++) {
        struct cb_stream_target *target;
        size_t whose;
        int r;

        if (usage->targets[i] == 0 || cb_usage_at(usage, column, i) == CB_STAT_ABSENT)
            continue; /* 0: the machine */
        r = find_target(fold, start, usage->targets[i], &whose, err);
        if (r < 0)
            return r;
        target = fold->targets[whose];
        target->has_metrics = true;
        add_metric(&target->metrics[which], cb_usage_at(usage, column, i),
                   metric->kind == CB_SCHEMA_COUNTER);
    }
    return 0;
}

static int add_usage(struct cb_fold *fold, int64_t start, const struct cb_usage *usage,
                     const char *names, struct cb_err *err)
{
    char name[64];
    int r = 0;

    for (size_t i = 0; i < usage->n_columns && r == 0; i++)
        if (cb_usage_name(names, i, name, sizeof(name)))
            r = add_column(fold, start, usage, i, name, err);
    return r;
}

/* ---- opening and closing ---- */

static int64_t grid(const struct cb_fold *fold, int64_t wall_ns)
{
    int64_t step = (int64_t)fold->resolution_ns;
    int64_t rest = wall_ns % step;

    if (wall_ns < INT64_MIN + step)
        return INT64_MIN / step * step;
    return wall_ns - (rest < 0 ? rest + step : rest);
}

/* A time at or below the highest comes again: in the pass that is under way, or in a new one. In a
 * pass time only grows, so (wall_ns, again) comes once. */
static int open_bin(struct cb_fold *fold, int64_t wall_ns, int64_t frame, struct cb_err *err)
{
    const struct cb_fold_mark *mark = &fold->mark;
    uint64_t texts;
    int r = fold->callbacks->texts(fold->callbacks->context, mark->boot, &texts, err);

    if (r < 0)
        return r;
    if (texts != fold->texts || fold->n_known > 2 * fold->bin.n_targets + KNOWN_SPARE)
        forget_targets(fold);
    fold->texts = texts;
    fold->n_bins++;
    fold->open = true;
    fold->open_frame = frame;
    fold->open_ns = wall_ns;
    fold->open_passes = false;
    fold->open_again = 0;
    if (mark->any && wall_ns <= mark->high_ns) {
        fold->open_passes = !(mark->last_again && wall_ns > mark->last_ns);
        fold->open_again = mark->passes + fold->open_passes;
    }
    fold->bin.n_domains = fold->bin.n_targets = 0;
    fold->bin.covered_ns = 0;
    fold->bin.machine_cpu_ns = CB_STAT_ABSENT;
    cb_map_clear(&fold->by_identity);
    return 0;
}

/* Behind it the mark says that frames up to @frame are done, and of @part_frame what is before
 * @part_ns. */
static int close_bin(struct cb_fold *fold, int64_t frame, int64_t part_frame, uint64_t part_ns,
                     struct cb_err *err)
{
    struct cb_fold_mark *mark = &fold->mark;
    int r = 0;

    if (fold->boot_of_id != mark->boot) {
        r = fold->callbacks->boot_id(fold->callbacks->context, mark->boot, fold->boot_id, err);
        fold->boot_of_id = mark->boot;
    }
    fold->bin.machine = fold->machine;
    fold->bin.boot_id = fold->boot_id;
    fold->bin.wall_ns = fold->open_ns;
    fold->bin.resolution_ns = fold->resolution_ns;
    fold->bin.again = fold->open_again;
    fold->bin.domains = fold->domains;
    fold->bin.targets = fold->targets;
    fold->bin.shares = fold->shares;
    if (r == 0)
        r = fold->callbacks->close(fold->callbacks->context, &fold->bin, err);
    if (r < 0)
        return r;
    fold->open = false;
    mark->passes += fold->open_passes;
    mark->high_ns = mark->any && mark->high_ns > fold->open_ns ? mark->high_ns : fold->open_ns;
    mark->any = true;
    mark->last_ns = fold->open_ns;
    mark->last_again = fold->open_again;
    mark->frame = frame;
    mark->part_frame = part_frame;
    mark->part_ns = part_ns;
    return 0;
}

int cb_fold_flush(struct cb_fold *fold, struct cb_err *err)
{
    return fold->open ? close_bin(fold, fold->last_frame, 0, 0, err) : 0;
}

/* Does the frame go on where the last one was: the same boot, time that runs on, no clock step? */
static bool goes_on(const struct cb_fold *fold, const struct cb_store_frame *frame, int64_t anchor)
{
    const struct cb_fold_mark *mark = &fold->mark;
    uint64_t moved = (uint64_t)anchor - (uint64_t)mark->anchor_ns;

    if ((int64_t)moved < 0)
        moved = 0 - moved;
    return frame->boot == mark->boot && frame->t1_ns > fold->last_t1_ns && moved <= CB_FOLD_STEP_NS;
}

static int add_split(struct cb_fold *fold, const struct cb_store_frame *frame,
                     const struct cb_result *result, uint64_t from_ns, const struct cb_usage *usage,
                     const char *names, struct cb_err *err)
{
    uint64_t anchor = (uint64_t)fold->mark.anchor_ns;
    bool whole = (result->t1_ns - from_ns) / fold->resolution_ns >= CB_FOLD_PIECES_MAX;
    int64_t before = fold->last_frame;
    int r = 0;

    while (from_ns < result->t1_ns && r == 0) {
        int64_t at = grid(fold, (int64_t)((whole ? result->t1_ns - 1 : from_ns) + anchor));
        uint64_t end_ns = (uint64_t)at + fold->resolution_ns - anchor;
        uint64_t to_ns = end_ns < result->t1_ns ? end_ns : result->t1_ns;

        if (fold->open && fold->open_ns != at)
            r = close_bin(fold, before, 0, 0, err);
        if (r == 0 && !fold->open)
            r = open_bin(fold, at, frame->id, err);
        if (r == 0)
            r = add_piece(fold, frame->start, result, from_ns, to_ns, err);
        if (r == 0 && usage && to_ns == result->t1_ns)
            r = add_usage(fold, frame->start, usage, names, err);
        if (r == 0 && to_ns == end_ns)
            r = to_ns == result->t1_ns ? close_bin(fold, frame->id, 0, 0, err)
                                       : close_bin(fold, before, frame->id, to_ns, err);
        from_ns = to_ns;
    }
    return r;
}

int cb_fold_add(struct cb_fold *fold, const struct cb_store_frame *frame,
                const struct cb_result *result, const struct cb_usage *usage, const char *names,
                struct cb_err *err)
{
    struct cb_fold_mark *mark = &fold->mark;
    int64_t anchor = (int64_t)(result->wall_ns - result->t1_ns);
    uint64_t from_ns = result->t0_ns;
    int r = 0;

    if (frame->id <= mark->frame || result->t1_ns <= result->t0_ns)
        return 0;
    if (frame->id == mark->part_frame && mark->part_ns > from_ns && !fold->open)
        from_ns = mark->part_ns;
    if (!goes_on(fold, frame, anchor)) {
        r = cb_fold_flush(fold, err);
        mark->boot = frame->boot;
        mark->anchor_ns = anchor;
    }
    if (r == 0)
        r = add_split(fold, frame, result, from_ns, usage, names, err);
    fold->last_frame = frame->id;
    fold->last_t1_ns = result->t1_ns;
    return r;
}
