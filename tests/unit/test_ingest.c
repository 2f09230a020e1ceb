/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formula/ingest.h"
#include "formula/power.h"
#include "formula/recorder.h"
#include "lib/clock.h"
#include "lib/err.h"
#include "lib/log.h"
#include "tests/support/capture.h"
#include "tests/support/fake_root.h"
#include "tests/support/sensor_fixture.h"
#include "tests/support/store_fixture.h"

#define KEY_A "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define KEY_B "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB"
#define SECOND UINT64_C(1000000000)

/* A server that can be killed and started again, and what its sensors were told. */
struct server {
    struct store_fixture *f;
    struct cb_ingest *ingest;
    struct cb_totals *totals;
    struct cb_known *known;
    struct cb_recorder *recorder; /* NULL: nothing is recorded */
    struct cb_notify notify;
    struct cb_ingest_stats stats;
    struct cb_link_peer peer;
    bool with_keys;
    bool lose_answers; /* the process dies before they go out */
    bool any_start;    /* answers may name any sensor start */
    unsigned welcomes, refusals, forgotten;
    uint64_t refused_seq;
    uint64_t acked; /* the last */
    unsigned acks;
    char text[256];
    uint64_t now_ns;
    struct sensor_fixture sensor;
};

static void on_welcome(void *context, const struct cb_link_peer *peer)
{
    struct server *s = context;

    (void)peer;
    s->welcomes++;
}

static void on_ack(void *context, const struct cb_link_peer *peer, const char *start_id,
                   uint64_t seq)
{
    struct server *s = context;

    assert_memory_equal(peer->id, s->peer.id, peer->size);
    if (!s->any_start)
        assert_string_equal(start_id, s->sensor.start_id);
    if (s->lose_answers)
        return;
    s->acked = seq;
    s->acks++;
}

static void on_refuse(void *context, const struct cb_link_peer *peer, const char *start_id,
                      uint64_t seq, const char *text)
{
    struct server *s = context;

    (void)peer;
    (void)start_id;
    s->refused_seq = seq;
    s->refusals++;
    (void)snprintf(s->text, sizeof(s->text), "%s", text);
}

static void on_forget(void *context, const struct cb_link_peer *peer)
{
    struct server *s = context;

    assert_memory_equal(peer->id, s->peer.id, peer->size);
    s->forgotten++;
}

static void start(struct server *s)
{
    struct cb_ingest_options options = {
        .totals = cb_totals_new(),
        .notify = &s->notify,
        .stats = &s->stats,
        .model = CB_MODEL_CBWATTS,
        .commit_ns = SECOND / 10,
        .answers = {.context = s,
                    .welcome = on_welcome,
                    .ack = on_ack,
                    .refuse = on_refuse,
                    .forget = on_forget},
    };
    struct cb_err err = {0};

    if (!s->f->store)
        assert_int_equal(cb_store_open(s->f->path, CB_STORE_OWNER, &s->f->store, &err), 0);
    s->known = NULL;
    if (s->with_keys)
        assert_int_equal(cb_known_open(s->f->root->fd, &s->known, NULL), 0);
    options.known = s->known;
    options.recorder = s->recorder;
    options.store = s->f->store;
    s->totals = options.totals;
    if (cb_ingest_open(&options, &s->ingest, &err) < 0)
        fail_msg("%s", err.text);
    s->lose_answers = false;
}

static void release(struct server *s)
{
    s->ingest = NULL;
    s->known = cb_known_close(s->known);
    s->totals = cb_totals_free(s->totals);
    s->f->store = cb_store_close(s->f->store);
}

static void kill_it(struct server *s)
{
    cb_ingest_abandon(s->ingest);
    release(s);
}

static void end(struct server *s)
{
    assert_int_equal(cb_ingest_close(s->ingest, s->now_ns, 5, NULL), 0);
    release(s);
}

static void say_hello_as(struct server *s, const char *key)
{
    struct cb_link_message message = {.kind = CB_LINK_MSG_HELLO, .peer = s->peer};

    (void)snprintf(message.key, sizeof(message.key), "%s", key);
    (void)snprintf(message.sensor, sizeof(message.sensor), "%s", s->sensor.name);
    (void)snprintf(message.boot_id, sizeof(message.boot_id), "%s", s->sensor.boot_id);
    (void)snprintf(message.start_id, sizeof(message.start_id), "%s", s->sensor.start_id);
    (void)snprintf(message.version, sizeof(message.version), "test");
    assert_int_equal(cb_ingest_message(s->ingest, &message, s->now_ns, 5, NULL), 0);
}

static int send_bytes(struct server *s, uint64_t seq, const uint8_t *bytes, size_t size,
                      const char *key)
{
    struct cb_link_message message = {
        .kind = CB_LINK_MSG_FRAME, .peer = s->peer, .seq = seq, .bytes = bytes, .size = size};

    (void)snprintf(message.key, sizeof(message.key), "%s", key);
    (void)snprintf(message.start_id, sizeof(message.start_id), "%s", s->sensor.start_id);
    return cb_ingest_message(s->ingest, &message, s->now_ns, 5, NULL);
}

static void send_frame_as(struct server *s, uint64_t seq, const char *key)
{
    const uint8_t *bytes;
    size_t size;

    sensor_fixture_frame(&s->sensor, seq, &bytes, &size);
    assert_int_equal(send_bytes(s, seq, bytes, size, key), 0);
}

static void send_frame(struct server *s, uint64_t seq)
{
    send_frame_as(s, seq, KEY_A);
}

/* A second later everything is committed, and the models are saved. */
static void commit(struct server *s)
{
    s->now_ns += 2 * SECOND;
    assert_int_equal(cb_ingest_commit(s->ingest, s->now_ns, 5, NULL), 0);
}

static int count_one(void *context, const struct cb_store_frame *frame, struct cb_err *err)
{
    uint64_t *seen = context;

    (void)err;
    assert_true(frame->seq < 64);
    seen[frame->seq]++;
    return 0;
}

/* Frames 1 to @last are stored, each once, and nothing else. */
static void check_stored(struct server *s, uint64_t last)
{
    uint64_t seen[64] = {0};
    struct cb_store_machine machine;

    assert_int_equal(cb_store_machine(s->f->store, s->sensor.name, &machine, NULL), 0);
    assert_int_equal(cb_store_frames_after(s->f->store, machine.id, 0, count_one, seen, NULL), 0);
    for (uint64_t i = 0; i < 64; i++)
        assert_int_equal(seen[i], i >= 1 && i <= last);
    assert_int_equal(machine.frames, last);
    assert_int_equal(machine.violations, 0);
}

struct sums {
    uint64_t package, dram, parts, containers;
    double cpu_s;
    unsigned series;
};

static int add_sum(void *context, const char *machine, const struct cb_store_total *total)
{
    struct sums *sums = context;

    (void)machine;
    if (total->identity[0]) {
        sums->parts += total->energy_uj;
        sums->containers += total->energy_uj;
        sums->series++;
        return 0;
    }
    if (total->domain == CB_DOMAIN_PACKAGE)
        sums->package += total->energy_uj;
    else
        sums->dram += total->energy_uj;
    sums->parts += total->idle_uj + total->system_uj + total->unattributed_uj;
    return 0;
}

/* The counters are what the sensor counted in frames 1 to @last, and their parts sum to it. */
static void check_totals(struct server *s, uint64_t last)
{
    struct sums sums = {0};
    uint64_t package = 0;
    uint64_t dram = 0;

    for (uint64_t i = 1; i <= last; i++) {
        package += sensor_fixture_energy_uj(&s->sensor, i, CB_DOMAIN_PACKAGE);
        dram += sensor_fixture_energy_uj(&s->sensor, i, CB_DOMAIN_DRAM);
    }
    assert_int_equal(cb_totals_walk(s->totals, 0, add_sum, &sums), 0);
    assert_int_equal(sums.package, package);
    assert_int_equal(sums.dram, dram);
    assert_int_equal(sums.parts, package + dram);
}

static int setup(void **state)
{
    struct server *s = calloc(1, sizeof(*s));
    void *f = NULL;

    assert_non_null(s);
    cb_log_init("test", CB_LOG_ERR, false);
    assert_int_equal(store_fixture_setup(&f), 0);
    s->f = f;
    s->peer = (struct cb_link_peer){.size = 5, .id = {1, 2, 3, 4, 5}};
    s->sensor = (struct sensor_fixture){.name = "node1",
                                        .boot_id = FIXTURE_BOOT,
                                        .start_id = FIXTURE_START,
                                        .seed = 99,
                                        .length_ns = SECOND,
                                        .t0_ns = 10 * SECOND,
                                        .dictionary = true};
    s->now_ns = 1000 * SECOND;
    cb_notify_init(&s->notify);
    start(s);
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    struct server *s = *state;
    void *f = s->f;

    if (s->ingest)
        kill_it(s);
    s->sensor.encoder = cb_frame_encoder_free(s->sensor.encoder);
    cb_notify_fini(&s->notify);
    free(s);
    return store_fixture_teardown(&f);
}

static void a_frame_is_acknowledged_after_its_commit_and_not_before(void **state)
{
    struct server *s = *state;

    say_hello_as(s, KEY_A);
    assert_int_equal(s->welcomes, 1);
    assert_true(cb_ingest_due_ns(s->ingest) == UINT64_MAX);
    send_frame(s, 1);
    send_frame(s, 2);
    assert_int_equal(s->acks, 0);
    assert_int_equal(cb_ingest_due_ns(s->ingest), s->now_ns + SECOND / 10);
    commit(s);
    assert_int_equal(s->acks, 1);
    assert_int_equal(s->acked, 2);
    assert_true(cb_ingest_due_ns(s->ingest) == UINT64_MAX);
    check_stored(s, 2);
    check_totals(s, 2);
}

static void a_frame_that_comes_again_is_acknowledged_and_dropped(void **state)
{
    struct server *s = *state;

    send_frame(s, 1);
    send_frame(s, 1); /* in the same batch */
    commit(s);
    assert_int_equal(s->acks, 1);
    send_frame(s, 1); /* after the commit */
    assert_int_equal(s->acks, 2);
    end(s);
    start(s);
    send_frame(s, 1); /* after a restart */
    assert_int_equal(s->acks, 3);
    send_frame(s, 2);
    commit(s);
    check_stored(s, 2);
    check_totals(s, 2);
}

static void killed_between_commit_and_ack_it_stores_nothing_twice(void **state)
{
    struct server *s = *state;

    for (uint64_t i = 1; i <= 3; i++)
        send_frame(s, i);
    s->lose_answers = true;
    commit(s);
    assert_int_equal(s->acks, 0);
    kill_it(s);
    start(s);
    for (uint64_t i = 1; i <= 5; i++)
        send_frame(s, i);
    assert_int_equal(s->acked, 3);
    commit(s);
    assert_int_equal(s->acked, 5);
    check_stored(s, 5);
    check_totals(s, 5);
}

static void killed_before_the_commit_it_loses_nothing_that_was_acknowledged(void **state)
{
    struct server *s = *state;

    send_frame(s, 1);
    commit(s);
    send_frame(s, 2);
    send_frame(s, 3);
    kill_it(s);
    assert_int_equal(s->acked, 1);
    start(s);
    check_stored(s, 1);
    check_totals(s, 1);
    for (uint64_t i = 2; i <= 4; i++)
        send_frame(s, i);
    commit(s);
    check_stored(s, 4);
    check_totals(s, 4);
}

static void snapshot(struct server *s, uint8_t **ret_bytes, size_t *ret_size)
{
    struct cb_store_machine machine;

    assert_int_equal(cb_store_machine(s->f->store, "node1", &machine, NULL), 0);
    assert_int_equal(cb_store_snapshot(s->f->store, machine.id, ret_bytes, ret_size, NULL), 0);
}

/* Killed at any moment, it has learnt what a server that never died has learnt: no frame twice. */
static void a_kill_does_not_change_what_is_learnt(void **state)
{
    struct server *s = *state;
    uint8_t *calm = NULL;
    uint8_t *killed = NULL;
    size_t calm_size = 0;
    size_t killed_size = 0;

    for (uint64_t i = 1; i <= 20; i++) {
        send_frame(s, i);
        commit(s);
    }
    snapshot(s, &calm, &calm_size);
    kill_it(s);
    assert_int_equal(remove(s->f->path), 0);
    start(s);
    for (uint64_t i = 1; i <= 20; i++) {
        send_frame(s, i);
        if (i % 3 == 0)
            kill_it(s);
        if (i % 3 == 0)
            start(s);
        send_frame(s, i);
        commit(s);
        if (i % 4 == 0)
            kill_it(s);
        if (i % 4 == 0)
            start(s);
        send_frame(s, i);
    }
    snapshot(s, &killed, &killed_size);
    assert_int_equal(killed_size, calm_size);
    assert_memory_equal(killed, calm, calm_size);
    check_stored(s, 20);
    check_totals(s, 20);
    free(calm);
    free(killed);
}

static void what_is_malformed_is_refused_by_name_and_stops_nothing(void **state)
{
    struct server *s = *state;
    uint8_t *copy;
    const uint8_t *bytes;
    size_t size;

    assert_int_equal(send_bytes(s, 1, (const uint8_t *)"nonsense", 8, KEY_A), 0);
    assert_int_equal(s->refusals, 1);
    assert_int_equal(s->refused_seq, 1); /* never: the sensor puts it aside */
    assert_true(s->text[0] != '\0');
    sensor_fixture_frame(&s->sensor, 1, &bytes, &size);
    copy = malloc(size);
    assert_non_null(copy);
    memcpy(copy, bytes, size);
    assert_int_equal(send_bytes(s, 2, copy, size, KEY_A), 0); /* the envelope says another seq */
    assert_int_equal(s->refusals, 2);
    assert_non_null(strstr(s->text, "envelope"));
    assert_int_equal(send_bytes(s, 1, copy, size - 1, KEY_A), 0);
    assert_int_equal(s->refusals, 3);
    assert_int_equal(send_bytes(s, 1, copy, size, KEY_A), 0);
    assert_int_equal(s->refusals, 3);
    free(copy);
    commit(s);
    check_stored(s, 1);
    assert_int_equal(atomic_load(&s->stats.refused_total), 3);
}

static void a_start_id_of_another_boot_is_refused(void **state)
{
    struct server *s = *state;

    send_frame(s, 1);
    commit(s);
    s->sensor.boot_id = "99999999-2222-3333-4444-555555555555";
    send_frame(s, 2);
    assert_int_equal(s->refusals, 1);
    assert_int_equal(s->refused_seq, 0); /* the frame itself is sound: the sensor keeps it */
    assert_non_null(strstr(s->text, "boot"));
}

static void with_a_full_disk_it_keeps_the_batch_and_goes_on_later(void **state)
{
    struct server *s = *state;
    struct cb_err err = {0};
    int r = 0;

    send_frame(s, 1);
    commit(s);
    cb_store_limit_pages(s->f->store, 1);
    s->sensor.dictionary = false;
    for (uint64_t i = 2; i <= 40; i++)
        send_frame(s, i);
    s->now_ns += 2 * SECOND;
    r = cb_ingest_commit(s->ingest, s->now_ns, 5, &err);
    assert_int_equal(r, -ENOSPC);
    assert_int_equal(s->acked, 1);
    assert_true(cb_ingest_due_ns(s->ingest) <= s->now_ns);
    cb_store_limit_pages(s->f->store, 0);
    commit(s);
    assert_int_equal(s->acked, 40);
    check_stored(s, 40);
    check_totals(s, 40);
    assert_int_equal(atomic_load(&s->stats.commit_failures_total), 1);
}

static void a_batch_that_is_full_is_committed_at_once(void **state)
{
    struct server *s = *state;

    s->sensor.length_ns = SECOND / 100;
    for (uint64_t i = 1; i <= 256; i++)
        send_frame(s, i);
    assert_int_equal(cb_ingest_due_ns(s->ingest), s->now_ns);
    send_frame(s, 257); /* the caller was slow: there is no room, so it commits itself */
    assert_int_equal(s->acked, 256);
    commit(s);
    assert_int_equal(s->acked, 257);
}

static void a_sensor_that_used_up_half_its_credit_need_not_wait(void **state)
{
    struct server *s = *state;

    for (uint64_t i = 1; i < CB_LINK_CREDIT / 2; i++)
        send_frame(s, i);
    assert_true(cb_ingest_due_ns(s->ingest) > s->now_ns);
    send_frame(s, CB_LINK_CREDIT / 2);
    assert_int_equal(cb_ingest_due_ns(s->ingest), s->now_ns);
    commit(s);
    send_frame(s, CB_LINK_CREDIT / 2 + 1);
    assert_true(cb_ingest_due_ns(s->ingest) > s->now_ns);
    commit(s);
}

/* More sensor starts at once than are kept in memory: the first is forgotten before its batch is
 * committed, and what comes again is found out by the store. */
static void a_start_that_was_forgotten_still_counts_once(void **state)
{
    static const char *const starts[] = {
        FIXTURE_START,
        "11111111111111111111111111111111",
        "22222222222222222222222222222222",
        "33333333333333333333333333333333",
        "44444444444444444444444444444444",
    };
    struct server *s = *state;
    struct sums sums = {0};
    uint64_t package = sensor_fixture_energy_uj(&s->sensor, 1, CB_DOMAIN_PACKAGE);
    uint64_t t0_ns = s->sensor.t0_ns;

    s->any_start = true;
    for (size_t i = 0; i < 6; i++) {
        s->sensor.start_id = starts[i % 5];
        s->sensor.t0_ns = t0_ns + i % 5 * s->sensor.length_ns;
        send_frame(s, 1);
    }
    commit(s);
    assert_int_equal(s->refusals, 0);
    assert_int_equal(s->acks, 5);
    assert_int_equal(cb_totals_walk(s->totals, 0, add_sum, &sums), 0);
    assert_int_equal(sums.package, 5 * package);
}

static void find_target(struct server *s, uint32_t id, struct cb_store_target *ret)
{
    struct cb_store_machine machine;
    struct cb_store_start row;

    assert_int_equal(cb_store_machine(s->f->store, "node1", &machine, NULL), 0);
    assert_int_equal(
        cb_store_start(s->f->store, machine.id, FIXTURE_BOOT, FIXTURE_START, 1, &row, NULL), 0);
    assert_int_equal(cb_store_target(s->f->store, row.id, id, ret, NULL), 0);
}

static void a_target_has_a_placeholder_until_its_text_comes(void **state)
{
    struct server *s = *state;
    struct cb_store_target target;
    struct sums before = {0};
    struct sums after = {0};

    s->sensor.dictionary = false;
    send_frame(s, 1);
    commit(s);
    find_target(s, 2, &target);
    assert_string_equal(target.name, "target 2");
    assert_false(target.known);
    assert_int_equal(cb_totals_walk(s->totals, 0, add_sum, &before), 0);
    s->sensor.dictionary = true;
    send_frame(s, 2);
    s->sensor.dictionary = false;
    send_frame(s, 3);
    commit(s);
    find_target(s, 2, &target);
    assert_string_equal(target.name, "beta \"quoted\"");
    assert_string_equal(target.container_id, FIXTURE_ID_B);
    assert_string_equal(target.image, "img/beta");
    kill_it(s);
    start(s);
    send_frame(s, 4); /* a new server asks for no text when it has it */
    commit(s);
    find_target(s, 1, &target);
    assert_string_equal(target.name, "alpha");
    check_totals(s, 4);
    assert_int_equal(cb_totals_walk(s->totals, 0, add_sum, &after), 0);
    assert_int_equal(before.series, 4); /* two targets with two domains each */
}

static void let_in(struct server *s, const char *name, const char *key)
{
    assert_int_equal(cb_known_add(s->f->root->fd, name, key, NULL), 0);
}

static void with_keys(struct server *s)
{
    end(s);
    s->with_keys = true;
    start(s);
}

static void two_sensors_with_one_state_directory_do_not_count_twice(void **state)
{
    struct server *s = *state;
    struct sensor_fixture first = s->sensor;
    struct cb_store_machine machine;

    send_frame(s, 1);
    send_frame(s, 2);
    commit(s);
    s->sensor.start_id = "cccccccccccccccccccccccccccccccc";
    s->sensor.t0_ns = first.t0_ns + first.length_ns / 2;
    send_frame(s, 1); /* half of each of those seconds again */
    assert_int_equal(s->refusals, 1);
    assert_non_null(strstr(s->text, "stop one of them"));
    s->sensor.t0_ns = first.t0_ns + 2 * first.length_ns;
    send_frame(s, 1); /* what a start after them sends */
    commit(s);
    s->sensor.start_id = first.start_id;
    s->sensor.t0_ns = first.t0_ns;
    send_frame(s, 3); /* and now the first one comes back */
    assert_int_equal(s->refusals, 2);
    commit(s);
    assert_int_equal(cb_store_machine(s->f->store, "node1", &machine, NULL), 0);
    assert_int_equal(machine.frames, 3);
}

static void a_second_key_under_a_name_is_refused_and_a_restart_never_is(void **state)
{
    struct server *s = *state;

    with_keys(s);
    let_in(s, "node1", KEY_A);
    let_in(s, "second", KEY_B);
    say_hello_as(s, KEY_A);
    assert_int_equal(s->welcomes, 1);
    send_frame_as(s, 1, KEY_A);
    say_hello_as(s, KEY_B);
    assert_int_equal(s->welcomes, 1);
    assert_int_equal(s->refusals, 1);
    assert_non_null(strstr(s->text, "'node1', a name with another key"));
    assert_non_null(strstr(s->text, "'second'"));
    send_frame_as(s, 2, KEY_B);
    assert_int_equal(s->refusals, 2);
    end(s);
    start(s);
    say_hello_as(s, KEY_B);
    assert_int_equal(s->refusals, 3);
    say_hello_as(s, KEY_A);
    assert_int_equal(s->welcomes, 2);
    commit(s);
    check_stored(s, 1);
    /* The machine was installed anew: its old key is revoked, so the name is free for the new. */
    assert_int_equal(cb_known_revoke(s->f->root->fd, "node1", NULL), 0);
    assert_int_equal(cb_known_revoke(s->f->root->fd, "second", NULL), 0);
    let_in(s, "node1", KEY_B);
    say_hello_as(s, KEY_B);
    assert_int_equal(s->welcomes, 3);
    send_frame_as(s, 2, KEY_B);
    commit(s);
    check_stored(s, 2);
}

static void a_revoked_key_gets_silence_at_once(void **state)
{
    struct server *s = *state;

    with_keys(s);
    let_in(s, "node1", KEY_A);
    say_hello_as(s, KEY_A);
    send_frame_as(s, 1, KEY_A);
    assert_int_equal(cb_known_revoke(s->f->root->fd, "node1", NULL), 0);
    send_frame_as(s, 2, KEY_A);
    say_hello_as(s, KEY_A);
    assert_int_equal(s->welcomes, 1);
    assert_int_equal(s->refusals, 0);
    assert_int_equal(atomic_load(&s->stats.ignored_total), 2);
    assert_int_equal(s->forgotten, 2); /* or an ack of a later frame would cover this one */
    commit(s);
    check_stored(s, 1);
}

static void a_name_on_the_list_is_for_its_key_only(void **state)
{
    struct server *s = *state;

    with_keys(s);
    let_in(s, "node1", KEY_A);
    let_in(s, "node2", KEY_B);
    say_hello_as(s, KEY_B); /* node2's key claims to be node1, which has not been heard yet */
    assert_int_equal(s->welcomes, 0);
    assert_int_equal(s->refusals, 1);
    say_hello_as(s, KEY_A);
    assert_int_equal(s->welcomes, 1);
}

static int count_machine(void *context, const struct cb_store_machine *machine)
{
    (void)machine;
    ++*(unsigned *)context;
    return 0;
}

static void a_key_speaks_under_the_name_it_was_added_as_only(void **state)
{
    struct server *s = *state;
    unsigned machines = 0;

    with_keys(s);
    let_in(s, "node2", KEY_B);
    say_hello_as(s, KEY_B);     /* as node1, a name nobody has */
    send_frame_as(s, 1, KEY_B); /* nor by a frame alone */
    assert_int_equal(s->welcomes, 0);
    assert_int_equal(s->refusals, 2);
    assert_non_null(strstr(s->text, "'node1'"));
    assert_non_null(strstr(s->text, "'node2'"));
    assert_non_null(strstr(s->text, "cbformula keys add NAME KEY"));
    commit(s);
    assert_int_equal(cb_store_machines(s->f->store, count_machine, &machines, NULL), 0);
    assert_int_equal(machines, 0);
    s->sensor.name = "node2";
    say_hello_as(s, KEY_B);
    assert_int_equal(s->welcomes, 1);
    s->sensor.name = "node3"; /* a frame of another name than its hello's */
    send_frame_as(s, 1, KEY_B);
    assert_int_equal(s->refusals, 3);
}

/* A sensor that was renamed sends first what it has in its spool under the old name. */
static void frames_of_the_old_name_of_a_sensor_come_through(void **state)
{
    struct server *s = *state;

    with_keys(s);
    let_in(s, "node1", KEY_A);
    say_hello_as(s, KEY_A);
    send_frame_as(s, 1, KEY_A);
    commit(s);
    assert_int_equal(cb_known_revoke(s->f->root->fd, "node1", NULL), 0);
    let_in(s, "node2", KEY_A);
    say_hello_as(s, KEY_A); /* its name is another now */
    assert_int_equal(s->welcomes, 1);
    assert_int_equal(s->refusals, 1);
    s->sensor.name = "node2";
    say_hello_as(s, KEY_A);
    assert_int_equal(s->welcomes, 2);
    s->sensor.name = "node1";
    send_frame_as(s, 2, KEY_A);
    commit(s);
    assert_int_equal(s->acked, 2);
    s->sensor.name = "node2";
    s->sensor.start_id = "cccccccccccccccccccccccccccccccc";
    s->sensor.t0_ns += 2 * SECOND;
    send_frame_as(s, 1, KEY_A);
    commit(s);
    assert_int_equal(s->refusals, 1);
    check_stored(s, 1);
    s->sensor.name = "node1";
    check_stored(s, 2);
}

static void a_frame_of_a_strangers_name_is_put_aside_and_the_next_is_stored(void **state)
{
    struct server *s = *state;
    struct cb_store_machine machine;

    with_keys(s);
    let_in(s, "node1", KEY_A);
    send_frame_as(s, 1, KEY_A);
    commit(s);
    let_in(s, "node2", KEY_B);
    s->sensor.start_id = "cccccccccccccccccccccccccccccccc";
    send_frame_as(s, 1, KEY_B); /* node1, which is another's */
    assert_int_equal(s->refusals, 1);
    assert_int_equal(s->refused_seq, 1);
    assert_int_equal(cb_known_revoke(s->f->root->fd, "node1", NULL), 0);
    send_frame_as(s, 2, KEY_B); /* which was another's */
    assert_int_equal(s->refused_seq, 2);
    s->sensor.name = "node3"; /* which is nobody's */
    send_frame_as(s, 3, KEY_B);
    assert_int_equal(s->refusals, 3);
    assert_int_equal(s->refused_seq, 3);
    assert_int_equal(cb_store_find_machine(s->f->store, "node3", &machine, NULL), -ENOENT);
    s->sensor.name = "node2";
    send_frame_as(s, 4, KEY_B);
    commit(s);
    assert_int_equal(s->acked, 4);
    assert_int_equal(cb_store_find_machine(s->f->store, "node2", &machine, NULL), 0);
    assert_int_equal(machine.frames, 1);
    s->sensor.name = "node1";
    check_stored(s, 1);
}

static void each_misnamed_sensor_is_told_of_in_the_log(void **state)
{
    struct server *s = *state;
    struct capture capture;
    char out[16], err[2048];

    with_keys(s);
    let_in(s, "node1", KEY_A);
    let_in(s, "node2", KEY_B);
    cb_log_init("test", CB_LOG_WARN, false);
    capture_begin(&capture, s->f->root);
    (void)send_bytes(s, 1, (const uint8_t *)"nonsense", 8, KEY_A);
    s->sensor.name = "other1";
    say_hello_as(s, KEY_A);
    say_hello_as(s, KEY_A);
    s->sensor.name = "other2";
    say_hello_as(s, KEY_B);
    capture_end(&capture, out, sizeof(out), err, sizeof(err));
    assert_int_equal(s->refusals, 4);
    assert_non_null(strstr(err, "refused frame 1: "));
    assert_non_null(strstr(err, "refused sensor other1: "));
    assert_null(strstr(strstr(err, "sensor other1: ") + 1, "sensor other1: "));
    assert_non_null(strstr(err, "refused sensor other2: "));
}

static void machines_do_not_mix(void **state)
{
    struct server *s = *state;

    send_frame(s, 1);
    s->sensor.name = "node2";
    send_frame(s, 1);
    send_frame(s, 2);
    commit(s);
    check_stored(s, 2);
    s->sensor.name = "node1";
    check_stored(s, 1);
}

static void lost_frames_are_the_sensors_word(void **state)
{
    struct server *s = *state;
    struct cb_store_machine machine;

    s->sensor.lost_frames = 2;
    send_frame(s, 1);
    s->sensor.lost_frames = 7;
    send_frame(s, 5);
    commit(s);
    assert_int_equal(cb_store_machine(s->f->store, "node1", &machine, NULL), 0);
    assert_int_equal(machine.lost_frames, 7);
    assert_int_equal(machine.frames, 2);
}

static int add_dynamic(void *context, const struct cb_store_frame *frame, struct cb_err *err)
{
    uint64_t *sums = context; /* all of it, and what falls on half a second of CPU time */
    struct cb_result result = {0};

    assert_int_equal(cb_result_unpack(frame->result, frame->result_size, &result, err), 0);
    sums[0] += cb_result_by_cpu_uj(&result, UINT64_MAX);
    sums[1] += cb_result_by_cpu_uj(&result, SECOND / 2);
    cb_result_clear(&result);
    return 0;
}

static void the_sensors_energy_is_a_part_of_the_dynamic_and_goes_on_over_a_kill(void **state)
{
    struct server *s = *state;
    struct cb_store_machine machine;
    uint64_t sums[2] = {0, 0};

    s->sensor.self_cpu_ns = SECOND / 2;
    send_frame(s, 1);
    send_frame(s, 2);
    commit(s);
    send_frame(s, 3);
    kill_it(s); /* before the commit: the sensor sends it again, and one that came already */
    start(s);
    send_frame(s, 2);
    send_frame(s, 3);
    commit(s);
    s->sensor.self_cpu_ns = 0; /* not known */
    send_frame(s, 4);
    commit(s);
    assert_int_equal(cb_store_machine(s->f->store, "node1", &machine, NULL), 0);
    assert_int_equal(cb_store_frames_after(s->f->store, machine.id, 0, add_dynamic, sums, NULL), 0);
    assert_true(machine.self_uj > 0 && machine.self_uj < sums[0]);
    sums[0] = sums[1] = 0;
    assert_int_equal(machine.self_cpu_ns, 3 * (SECOND / 2));
    assert_int_equal(
        cb_store_frames(s->f->store, machine.boot, 0, 13 * SECOND, add_dynamic, sums, NULL), 0);
    assert_int_equal(machine.self_uj, sums[1]);
}

static void keep_unreadable(void *context, const char *machine,
                            const struct cb_unreadable *unreadable)
{
    struct cb_unreadable *seen = context;

    assert_string_equal(machine, "node1");
    *seen = *unreadable;
}

static void what_cannot_be_read_is_that_of_the_last_committed_frame(void **state)
{
    struct server *s = *state;
    struct cb_frame_gap gaps[] = {{"rapl", "no such device"}, {"perf:/docker/ab", "gone"}};
    struct cb_unreadable seen = {.n = 99};

    s->sensor.gaps = gaps;
    s->sensor.n_gaps = 2;
    send_frame(s, 1);
    cb_totals_walk_unreadable(s->totals, keep_unreadable, &seen);
    assert_int_equal(seen.n, 99);
    commit(s);
    cb_totals_walk_unreadable(s->totals, keep_unreadable, &seen);
    assert_int_equal(seen.n, 2);
    assert_int_equal(seen.n_names, 2);
    assert_string_equal(seen.names[1], "perf:/docker/ab");
    end(s);
    start(s);
    seen.n = 99;
    cb_totals_walk_unreadable(s->totals, keep_unreadable, &seen);
    assert_int_equal(seen.n, 99); /* not known until a frame comes */
    s->sensor.n_gaps = 0;
    send_frame(s, 2);
    commit(s);
    cb_totals_walk_unreadable(s->totals, keep_unreadable, &seen);
    assert_int_equal(seen.n + seen.n_names, 0);
}

static void record_to(struct server *s, char ret_directory[128])
{
    (void)snprintf(ret_directory, 128, "%s/kept", s->f->root->dir);
    assert_int_equal(cb_recorder_open(ret_directory, UINT64_C(1) << 20, &s->recorder, NULL), 0);
}

static void send_and_commit(struct server *s, uint64_t first, uint64_t last)
{
    for (uint64_t i = first; i <= last; i++) {
        send_frame(s, i);
        if (i % 10 == 0)
            commit(s);
    }
}

static void what_was_recorded_is_not_kept_in_memory(void **state)
{
    struct server *s = *state;
    char directory[128];
    const uint8_t *bytes;
    size_t before, grown, size;

    end(s);
    record_to(s, directory);
    start(s);
    send_and_commit(s, 1, 200);
    sensor_fixture_frame(&s->sensor, 1, &bytes, &size);
    before = mallinfo2().uordblks;
    send_and_commit(s, 201, 600);
    grown = mallinfo2().uordblks;
    grown = grown > before ? grown - before : 0;
    assert_in_range(grown, 0, 250 * size); /* 400 came; SQLite's pages grow a little */
    end(s);
    s->recorder = cb_recorder_close(s->recorder);
}

static void a_series_of_a_dead_container_is_dropped_after_five_minutes(void **state)
{
    struct server *s = *state;
    struct cb_store_start row = store_fixture_start(s->f->store);
    struct cb_totals *totals = cb_totals_new();
    struct cb_result result = {0};
    struct sums before = {0};
    struct sums after = {0};
    uint64_t seed = 1;

    assert_non_null(totals);
    fixture_result(&result, &seed, 10 * SECOND, 11 * SECOND, 2, 2);
    assert_int_equal(cb_totals_add(totals, s->f->store, "node1", row.id, 1, &result, NULL), 0);
    /* Only the machine goes on: for five minutes less a second, and two seconds more. */
    fixture_result(&result, &seed, 11 * SECOND, 310 * SECOND, 2, 0);
    assert_int_equal(cb_totals_add(totals, s->f->store, "node1", row.id, 2, &result, NULL), 0);
    assert_int_equal(cb_totals_save(totals, s->f->store, "node1", row.machine, NULL), 0);
    cb_totals_saved(totals, "node1");
    assert_int_equal(cb_totals_walk(totals, 0, add_sum, &before), 0);
    assert_int_equal(before.series, 4);
    fixture_result(&result, &seed, 310 * SECOND, 312 * SECOND, 2, 0);
    assert_int_equal(cb_totals_add(totals, s->f->store, "node1", row.id, 3, &result, NULL), 0);
    cb_totals_saved(totals, "node1");
    assert_int_equal(cb_totals_walk(totals, 0, add_sum, &after), 0);
    assert_int_equal(after.series, 0);
    assert_true(after.package > before.package);
    cb_result_clear(&result);
    totals = cb_totals_free(totals);
}

static unsigned series_at(struct cb_totals *totals, uint64_t now_ns, uint64_t *ret_uj)
{
    struct sums sums = {0};

    assert_int_equal(cb_totals_walk(totals, now_ns, add_sum, &sums), 0);
    *ret_uj = sums.containers;
    return sums.series;
}

static void a_silent_machines_containers_leave_and_come_back_where_they_were(void **state)
{
    struct server *s = *state;
    struct cb_store_start row = store_fixture_start(s->f->store);
    struct cb_totals *totals = cb_totals_new();
    struct cb_store_machine machine;
    struct cb_result result = {0};
    uint64_t seed = 4;
    uint64_t shown;
    uint64_t before;
    uint64_t after;

    assert_non_null(totals);
    fixture_result(&result, &seed, 1000, 2000, 1, 2);
    fixture_put(s->f->store, &row, 1, &result); /* heard at FIXTURE_WALL_OFFSET: years ago */
    assert_int_equal(cb_totals_add(totals, s->f->store, "node1", row.id, 1, &result, NULL), 0);
    shown = cb_clock_boot_ns();
    assert_int_equal(series_at(totals, shown, &before), 2);
    assert_int_equal(series_at(totals, shown + CB_TOTALS_KEEP_NS + SECOND, &after), 0);
    assert_int_equal(after, 0);
    assert_int_equal(cb_totals_add(totals, s->f->store, "node1", row.id, 2, &result, NULL), 0);
    assert_int_equal(series_at(totals, cb_clock_boot_ns(), &after), 2);
    assert_int_equal(after, 2 * before);

    /* The same over a restart of the server. */
    assert_int_equal(cb_store_find_machine(s->f->store, "node1", &machine, NULL), 0);
    assert_int_equal(cb_totals_load(totals, s->f->store, &machine, NULL), 0);
    assert_int_equal(series_at(totals, cb_clock_boot_ns(), &after), 0);
    assert_int_equal(cb_totals_add(totals, s->f->store, "node1", row.id, 2, &result, NULL), 0);
    assert_int_equal(series_at(totals, cb_clock_boot_ns(), &after), 2);
    assert_int_equal(after, 2 * before);
    cb_result_clear(&result);
    totals = cb_totals_free(totals);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_frame_is_acknowledged_after_its_commit_and_not_before),
        TEST(a_frame_that_comes_again_is_acknowledged_and_dropped),
        TEST(killed_between_commit_and_ack_it_stores_nothing_twice),
        TEST(killed_before_the_commit_it_loses_nothing_that_was_acknowledged),
        TEST(a_kill_does_not_change_what_is_learnt),
        TEST(what_is_malformed_is_refused_by_name_and_stops_nothing),
        TEST(a_start_id_of_another_boot_is_refused),
        TEST(two_sensors_with_one_state_directory_do_not_count_twice),
        TEST(with_a_full_disk_it_keeps_the_batch_and_goes_on_later),
        TEST(a_batch_that_is_full_is_committed_at_once),
        TEST(a_sensor_that_used_up_half_its_credit_need_not_wait),
        TEST(a_start_that_was_forgotten_still_counts_once),
        TEST(a_target_has_a_placeholder_until_its_text_comes),
        TEST(a_second_key_under_a_name_is_refused_and_a_restart_never_is),
        TEST(a_revoked_key_gets_silence_at_once),
        TEST(a_key_speaks_under_the_name_it_was_added_as_only),
        TEST(a_name_on_the_list_is_for_its_key_only),
        TEST(frames_of_the_old_name_of_a_sensor_come_through),
        TEST(a_frame_of_a_strangers_name_is_put_aside_and_the_next_is_stored),
        TEST(each_misnamed_sensor_is_told_of_in_the_log),
        TEST(machines_do_not_mix),
        TEST(lost_frames_are_the_sensors_word),
        TEST(the_sensors_energy_is_a_part_of_the_dynamic_and_goes_on_over_a_kill),
        TEST(what_cannot_be_read_is_that_of_the_last_committed_frame),
        TEST(what_was_recorded_is_not_kept_in_memory),
        TEST(a_series_of_a_dead_container_is_dropped_after_five_minutes),
        TEST(a_silent_machines_containers_leave_and_come_back_where_they_were),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
