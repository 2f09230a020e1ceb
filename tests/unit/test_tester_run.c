/* SPDX-License-Identifier: Apache-2.0 */
/* test_tester_run.c - the whole of cbtester against a made-up Docker engine and formula: every way
 * a test can go must end with the right exit code, one line that says why, and no container left.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/defaults.h"
#include "tester/commands.h"
#include "tester/owner.h"
#include "tests/support/fake_root.h"
#include "tests/support/fake_server.h"

#define ID "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define OLD_ID "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"
#define LIMIT_S 60 /* a test that hangs must end */

/* One piece of the container's output; @kind 0 writes the bytes as they are. */
struct piece {
    unsigned after_ms;
    int kind;
    const char *text;
    bool header_apart; /* send the header alone, then the text */
};

struct world {
    struct fake_root *root;
    struct fake_server docker, formula;
    char socket_path[128], lock_path[128];
    char out[65536], err[65536]; /* what cbtester printed */
    pid_t child;
    int lock_fd;
    int reader_fd; /* the other end of its stderr, which only we may hold; 0: none */

    /* how Docker behaves */
    const char *api_version, *lowest_version;
    const char *start_error, *create_error, *image_error, *pull_error, *kill_error, *warning;
    const char *list; /* containers that are there */
    const char *cut_at;
    const struct piece *pieces;
    size_t n_pieces;
    int exit_code;
    bool runs_on;  /* until it is killed */
    bool odd_wait; /* the answer to wait is not what it should be */
    unsigned removals_failing;
    /* and what became of the container */
    bool started, ended, killed, created, removed;

    /* how the formula behaves */
    int begin_status;
    int not_covered; /* so many 202 before the recap; -1: for ever */
    int end_failures;
    const char *formula_cut_at;
    const char *health;
    const char *recap; /* NULL: one that fits */
};

/* --- the engine --- */

static bool has_ended(struct world *w)
{
    return __atomic_load_n(&w->ended, __ATOMIC_SEQ_CST) ||
           __atomic_load_n(&w->killed, __ATOMIC_SEQ_CST) || fake_server_is_stopping(&w->docker);
}

static void set(bool *flag)
{
    __atomic_store_n(flag, true, __ATOMIC_SEQ_CST);
}

static void send_piece(int fd, const struct piece *piece)
{
    size_t size = strlen(piece->text);
    uint8_t wire[16384] = {(uint8_t)piece->kind, 0, 0, 0, 0, 0, (uint8_t)(size >> 8),
                           (uint8_t)size};

    fake_sleep_ms(piece->after_ms);
    if (piece->kind == 0) {
        fake_write(fd, piece->text, size);
        return;
    }
    memcpy(wire + 8, piece->text, size);
    if (piece->header_apart) {
        fake_write(fd, wire, 8);
        fake_sleep_ms(20);
        fake_write(fd, wire + 8, size);
    } else {
        fake_write(fd, wire, size + 8);
    }
}

static bool attach(struct world *w, int fd)
{
    static const char head[] =
        "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n";

    fake_write(fd, head, strlen(head));
    while (!__atomic_load_n(&w->started, __ATOMIC_SEQ_CST) && !has_ended(w))
        fake_sleep_ms(2);
    for (size_t i = 0; i < w->n_pieces; i++)
        send_piece(fd, &w->pieces[i]);
    while (w->runs_on && !has_ended(w))
        fake_sleep_ms(2);
    set(&w->ended);
    return false;
}

static bool wait_for_exit(struct world *w, int fd)
{
    static const char head[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    char body[128];
    char chunk[256];

    fake_write(fd, head, strlen(head));
    while (!has_ended(w))
        fake_sleep_ms(2);
    if (fake_server_is_stopping(&w->docker))
        return false;
    (void)snprintf(body, sizeof(body), "{\"StatusCode\":%d,\"Error\":null}",
                   __atomic_load_n(&w->killed, __ATOMIC_SEQ_CST) ? 137 : w->exit_code);
    if (w->odd_wait)
        (void)snprintf(body, sizeof(body), "{\"StatusCode\":\"none\"}");
    /* in two chunks */
    (void)snprintf(chunk, sizeof(chunk), "5\r\n%.5s\r\n%zx\r\n%s\r\n0\r\n\r\n", body,
                   strlen(body) - 5, body + 5);
    fake_write(fd, chunk, strlen(chunk));
    return true;
}

static bool error_or(int fd, const char *error, int error_status, int status, const char *body)
{
    char text[512];

    (void)snprintf(text, sizeof(text), "{\"message\":\"%s\"}", error ? error : "");
    fake_reply(fd, error ? error_status : status, NULL, error ? text : body);
    return true;
}

static bool create(struct world *w, int fd)
{
    char body[512];

    if (!w->create_error)
        set(&w->created);
    (void)snprintf(body, sizeof(body), "{\"Id\":\"" ID "\",\"Warnings\":%s%s%s}",
                   w->warning ? "[\"" : "null", w->warning ? w->warning : "",
                   w->warning ? "\"]" : "");
    return error_or(fd, w->create_error, 400, 201, body);
}

static bool remove_it(struct world *w, const struct fake_request *request, int fd)
{
    if (w->removals_failing > 0) {
        w->removals_failing--;
        return error_or(fd, "device or resource busy", 500, 0, NULL);
    }
    if (!strstr(request->path, OLD_ID)) {
        set(&w->removed);
        set(&w->killed);
    }
    fake_reply(fd, 204, NULL, "");
    return true;
}

static bool docker(void *arg, const struct fake_request *request, int fd)
{
    struct world *w = arg;
    const char *path = request->path;
    char text[128];

    if (w->cut_at && strstr(path, w->cut_at)) {
        if (strstr(path, "/create"))
            set(&w->created); /* done, only the answer gets lost */
        return false;
    }
    if (strcmp(path, "/_ping") == 0) {
        (void)snprintf(text, sizeof(text), "%s%s%s", w->api_version ? "Api-Version: " : "",
                       w->api_version ? w->api_version : "", w->api_version ? "\r\n" : "");
        fake_reply(fd, 200, text, "OK");
        return true;
    }
    if (strcmp(path, "/version") == 0) {
        (void)snprintf(text, sizeof(text), "{\"MinAPIVersion\":\"%s\"}", w->lowest_version);
        fake_reply(fd, 200, NULL, text);
        return true;
    }
    if (strstr(path, "/images/create"))
        return error_or(fd, NULL, 0, 200,
                        w->pull_error ? w->pull_error : "{\"status\":\"done\"}\n");
    if (strstr(path, "/images/"))
        return error_or(fd, w->image_error, 404, 200, "{}");
    if (strstr(path, "/containers/json"))
        return error_or(fd, NULL, 0, 200, w->list ? w->list : "[]");
    if (strstr(path, "/containers/create"))
        return create(w, fd);
    if (strcmp(request->method, "DELETE") == 0)
        return remove_it(w, request, fd);
    if (strstr(path, "/attach"))
        return attach(w, fd);
    if (strstr(path, "/start")) {
        if (!w->start_error)
            set(&w->started);
        return error_or(fd, w->start_error, 400, 204, "");
    }
    if (strstr(path, "/kill")) {
        set(&w->killed);
        fake_sleep_ms(50); /* the answer to wait comes first */
        return error_or(fd, w->kill_error, 409, 204, "");
    }
    if (strstr(path, "/wait"))
        return wait_for_exit(w, fd);
    return error_or(fd, "page not found", 404, 0, NULL);
}

/* --- the formula --- */

static const char fitting_recap[] =
    "{\"name\":\"img\",\"exit_code\":0,\"source\":\"estimate\",\"idle_policy\":\"none\",\"phases\":"
    "["
    "{\"phase\":\"execution\",\"seconds\":1.5,\"domains\":[{\"socket\":0,\"domain\":\"package\","
    "\"source\":\"estimate\",\"energy_uj\":15,\"dynamic_uj\":1,\"others_uj\":2,\"system_uj\":3,"
    "\"idle_uj\":4,\"unattributed_uj\":5,\"uncertainty_uj\":6}]}],\"others\":[]}";

static bool formula(void *arg, const struct fake_request *request, int fd)
{
    struct world *w = arg;
    const char *path = request->path;

    if (w->formula_cut_at && strstr(path, w->formula_cut_at)) {
        fake_server_cut(&w->formula);
        return false;
    }
    if (strcmp(path, "/healthz") == 0) {
        fake_reply(fd, 200, NULL, w->health);
    } else if (strcmp(path, "/api/v1/tests") == 0) {
        fake_reply(fd, w->begin_status, NULL,
                   w->begin_status == 201 ? "{\"test\":7,\"machine\":\"m\"}"
                                          : "{\"error\":\"no sensor has this boot\"}");
    } else if (strstr(path, "/end")) {
        if (w->end_failures-- > 0)
            return false;
        fake_reply(fd, 200, NULL, "{\"test\":7}");
    } else if (strstr(path, "/recap")) {
        if (w->not_covered != 0) {
            w->not_covered -= w->not_covered > 0;
            fake_reply(fd, 202, NULL, "{\"covered_ns\":1000000000,\"end_ns\":2500000000}");
        } else {
            fake_reply(fd, 200, NULL, w->recap ? w->recap : fitting_recap);
        }
    } else {
        fake_reply(fd, 200, NULL, "{}");
    }
    return true;
}

/* --- the tester --- */

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    void *root = NULL;

    if (!w)
        return -1;
    (void)fake_root_setup(&root);
    w->root = root;
    (void)snprintf(w->socket_path, sizeof(w->socket_path), "%s/docker.sock", w->root->dir);
    (void)snprintf(w->lock_path, sizeof(w->lock_path), "%s/lock", w->root->dir);
    fake_server_listen(&w->docker, w->socket_path);
    fake_server_listen(&w->formula, NULL);
    w->api_version = "1.41";
    w->lowest_version = "1.24";
    w->begin_status = 201;
    w->health = "{\"status\":\"ok\",\"version\":\"0\"}";
    w->lock_fd = -1;
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    void *root = w->root;

    fake_server_stop(&w->docker);
    fake_server_stop(&w->formula);
    if (w->lock_fd >= 0)
        (void)close(w->lock_fd);
    (void)fake_root_teardown(&root);
    free(w);
    return 0;
}

static void redirect(const struct fake_root *root, const char *name, int to)
{
    int fd = openat(root->fd, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    if (fd < 0 || dup2(fd, to) < 0)
        abort();
    (void)close(fd);
}

/* The child: @arguments are separated by blanks, "_" stands for one. */
__attribute__((noreturn)) static void be_tester(const struct world *w, const char *arguments,
                                                int err_fd)
{
    char words[1024];
    char name[] = "cbtester";
    char *argv[32] = {name};
    char *rest = words;
    int argc = 1;
    int code;

    /* Else a server that is gone would seem to listen still. */
    (void)close(w->docker.listen_fd);
    (void)close(w->formula.listen_fd);
    if (w->reader_fd > 0)
        (void)close(w->reader_fd);
    (void)alarm(LIMIT_S);
    (void)snprintf(words, sizeof(words),
                   "-H unix://%s --formula http://127.0.0.1:%d/ --lock-file %s %s", w->socket_path,
                   w->formula.port, w->lock_path, arguments);
    for (char *word; (word = strsep(&rest, " ")) && argc < 31;) {
        for (char *p = word; *p; p++)
            *p = *p == '_' ? ' ' : *p;
        if (*word)
            argv[argc++] = word;
    }
    redirect(w->root, "out", STDOUT_FILENO);
    redirect(w->root, "err", STDERR_FILENO);
    if (err_fd >= 0)
        (void)dup2(err_fd, STDERR_FILENO);
    code = cb_tester_run(argc, argv);
    (void)fflush(NULL);
    /* What belonged to the servers' threads, which are not here, would be called a leak. */
    if (w->docker.running)
        _exit(code);
    exit(code);
}

/* Fork first, start the servers' threads then: what waits in the sockets is served. */
static void begin_tester_to(struct world *w, const char *arguments, int err_fd)
{
    (void)fflush(NULL);
    w->child = fork();
    assert_true(w->child >= 0);
    if (w->child == 0)
        be_tester(w, arguments, err_fd);
    if (!w->docker.running)
        fake_server_start(&w->docker, docker, w);
    if (!w->formula.running)
        fake_server_start(&w->formula, formula, w);
}

static void begin_tester(struct world *w, const char *arguments)
{
    begin_tester_to(w, arguments, -1);
}

static void read_back(const struct world *w, const char *name, char *text, size_t size)
{
    int fd = openat(w->root->fd, name, O_RDONLY);
    ssize_t n = read(fd, text, size - 1);

    assert_true(n >= 0);
    text[n] = '\0';
    (void)close(fd);
}

static int end_tester(struct world *w)
{
    int status;

    assert_int_equal(waitpid(w->child, &status, 0), w->child);
    read_back(w, "out", w->out, sizeof(w->out));
    read_back(w, "err", w->err, sizeof(w->err));
    if (!WIFEXITED(status))
        fail_msg("cbtester died of signal %d: %s", WTERMSIG(status), w->err);
    return WEXITSTATUS(status);
}

static int run(struct world *w, const char *arguments)
{
    begin_tester(w, arguments);
    return end_tester(w);
}

static void wait_until_started(struct world *w)
{
    for (int i = 0;
         i < LIMIT_S * 500 && !fake_server_saw(&w->docker, "POST /v1.41/containers/" ID "/wait");
         i++)
        fake_sleep_ms(2);
}

/* One line on stderr, with @text in it, and nothing on stdout. */
static void assert_one_line(const struct world *w, const char *text)
{
    if (!strstr(w->err, text))
        fail_msg("'%s' is not in: %s", text, w->err);
    assert_int_equal(strncmp(w->err, "cbtester: ", 10), 0);
    assert_ptr_equal(strchr(w->err, '\n'), w->err + strlen(w->err) - 1);
    assert_string_equal(w->out, "");
}

static void assert_nothing_started(struct world *w)
{
    assert_false(fake_server_saw(&w->docker, "POST /v1.41/containers/create"));
}

static void assert_removed(struct world *w)
{
    assert_true(w->created);
    assert_true(w->removed);
}

static void passes_the_output_and_the_exit_code_on(void **state)
{
    static const struct piece pieces[] = {
        {0, 1, "hello\n", false}, {0, 2, "from stderr\n", true}, {0, 1, "no end of line", false}};
    struct world *w = *state;

    w->pieces = pieces;
    w->n_pieces = 3;
    w->exit_code = 42;
    assert_int_equal(run(w, "x/img:1 some args"), 42);
    assert_string_equal(w->err, "hello\nfrom stderr\nno end of line");
    assert_non_null(strstr(w->out, "ESTIMATE, not measured"));
    assert_true(fake_server_saw(&w->docker, "POST /v1.41/containers/create?name=cbtest-img_1-"));
    assert_non_null(strstr(w->docker.log, "\"Image\":\"x/img:1\",\"Cmd\":[\"some\",\"args\"]"));
    assert_non_null(strstr(w->docker.log, "\"org.cbwatts.test\":\"img_1\""));
    assert_non_null(strstr(w->docker.log, "\"AutoRemove\":false"));
    assert_non_null(strstr(w->formula.log, "\"name\":\"img_1\",\"image\":\"x/img:1\""));
    assert_non_null(strstr(w->formula.log, "\"args\":[\"some\",\"args\"]"));
    assert_true(fake_server_saw(&w->formula, "POST /api/v1/tests/7/end {\"id\":\"" ID "\""));
    assert_non_null(strstr(w->formula.log, "\"warmup_ns\":null,\"execution_ns\":null"));
    assert_non_null(strstr(w->formula.log, "\"exit_code\":42}"));
    assert_true(fake_server_saw(&w->formula, "GET /api/v1/tests/7/recap?idle=none&wait="));
    assert_removed(w);
}

static void attaches_before_the_start_and_removes_before_the_recap(void **state)
{
    struct world *w = *state;
    const char *attached, *started, *waited;

    assert_int_equal(run(w, "img"), 0);
    attached = strstr(w->docker.log, "/attach?");
    started = strstr(w->docker.log, "/start ");
    waited = strstr(w->docker.log, "/wait ");
    assert_true(attached && attached < started && started < waited);
    assert_non_null(strstr(waited, "DELETE /v1.41/containers/cbtest-img-"));
    assert_non_null(strstr(waited, "?force=1&v=1"));
}

static void prints_the_json_as_it_came(void **state)
{
    struct world *w = *state;
    char expected[1024];

    (void)snprintf(expected, sizeof(expected), "%s\n", fitting_recap);
    assert_int_equal(run(w, "--json --idle equal -n my_test img"), 0);
    assert_string_equal(w->out, expected);
    assert_string_equal(w->err, "");
    assert_true(fake_server_saw(&w->formula, "GET /api/v1/tests/7/recap?idle=equal"));
    assert_non_null(strstr(w->formula.log, "\"name\":\"my test\""));
}

static uint64_t told(const struct world *w, const char *key)
{
    const char *at = strstr(w->formula.log, key);

    assert_non_null(at);
    return strtoull(at + strlen(key), NULL, 10);
}

static void marks_begin_and_end_by_the_machines_clock(void **state)
{
    static const struct piece pieces[] = {
        {100, 1, "--", false}, {0, 2, "noise\n", false}, {0, 1, "++warm\n", true},
        {100, 2, "++", false}, {0, 2, "--\n", false},    {100, 1, "--++ again\n", false}};
    struct world *w = *state;
    uint64_t before_ns = cb_clock_boot_ns();
    uint64_t begin_ns, warmup_ns, execution_ns, end_ns;

    w->pieces = pieces;
    w->n_pieces = 6;
    assert_int_equal(run(w, "img"), 0);
    begin_ns = told(w, "\"begin_ns\":");
    warmup_ns = told(w, "\"warmup_ns\":");
    execution_ns = told(w, "\"execution_ns\":");
    end_ns = told(w, "\"end_ns\":");
    assert_true(before_ns <= begin_ns);
    /* 100 ms each for who writes them; who reads may have been late with the one before */
    assert_true(warmup_ns > begin_ns && warmup_ns - begin_ns >= 50000000);
    assert_true(execution_ns > warmup_ns && execution_ns - warmup_ns >= 50000000);
    assert_true(end_ns > execution_ns && end_ns - execution_ns >= 50000000);
    assert_true(end_ns <= cb_clock_boot_ns());
    assert_string_equal(w->err, "--noise\n++warm\n++--\n--++ again\n");
}

static void says_when_the_measured_part_never_began(void **state)
{
    static const struct piece pieces[] = {{0, 1, "--++\n", false}};
    struct world *w = *state;

    w->pieces = pieces;
    w->n_pieces = 1;
    assert_int_equal(run(w, "img"), 0);
    assert_non_null(strstr(w->err, "there is no execution phase"));
    assert_non_null(strstr(w->formula.log, "\"execution_ns\":null"));
    assert_true(told(w, "\"warmup_ns\":") > 0);
}

static void a_terminal_has_no_headers(void **state)
{
    static const struct piece pieces[] = {{0, 0, "raw\r\n++--\r\n", false}};
    struct world *w = *state;

    w->pieces = pieces;
    w->n_pieces = 1;
    assert_int_equal(run(w, "-t img"), 0);
    assert_string_equal(w->err, "raw\r\n++--\r\n");
    assert_non_null(strstr(w->docker.log, "\"Tty\":true"));
    assert_true(told(w, "\"execution_ns\":") > 0);
}

static void quiet_drops_the_output(void **state)
{
    static const struct piece pieces[] = {{0, 1, "--++\n", false}};
    struct world *w = *state;

    w->pieces = pieces;
    w->n_pieces = 1;
    assert_int_equal(run(w, "-q img"), 0);
    assert_string_equal(w->err, "");
    assert_true(told(w, "\"warmup_ns\":") > 0);
}

static void hands_the_limits_to_docker(void **state)
{
    struct world *w = *state;

    w->warning = "Your kernel does not support it. Limitation discarded.";
    assert_int_equal(run(w, "--cpus 0.25 --cpuset-cpus 0-1 -m 64m -e A=1 -e CB_NOT_SET -e "
                            "HOME -v /x:/y:ro --network none img"),
                     0);
    assert_non_null(strstr(w->docker.log, "\"NanoCpus\":250000000"));
    assert_non_null(strstr(w->docker.log, "\"CpusetCpus\":\"0-1\""));
    assert_non_null(strstr(w->docker.log, "\"Memory\":67108864"));
    assert_non_null(strstr(w->docker.log, "\"Env\":[\"A=1\",\"HOME="));
    assert_null(strstr(w->docker.log, "CB_NOT_SET"));
    assert_non_null(strstr(w->docker.log, "\"Binds\":[\"/x:/y:ro\"]"));
    assert_non_null(strstr(w->docker.log, "\"NetworkMode\":\"none\""));
    assert_string_equal(w->err,
                        "cbtester: Docker says: Your kernel does not support it. Limitation "
                        "discarded.\n");
}

static void agrees_on_the_version_with_old_and_new_engines(void **state)
{
    struct world *w = *state;

    w->api_version = "1.35";
    assert_int_equal(run(w, "img"), 0);
    assert_true(fake_server_saw(&w->docker, "POST /v1.35/containers/create"));
    w->ended = w->killed = w->started = false;
    w->api_version = "1.99";
    assert_int_equal(run(w, "img"), 0);
    assert_true(fake_server_saw(&w->docker, "POST /v1.51/containers/create"));
    w->ended = w->killed = w->started = false;
    w->lowest_version = "1.60";
    assert_int_equal(run(w, "img"), 0);
    assert_true(fake_server_saw(&w->docker, "POST /v1.60/containers/create"));
    w->ended = w->killed = w->started = false;
    w->api_version = NULL;
    assert_int_equal(run(w, "img"), 0);
    assert_true(fake_server_saw(&w->docker, "POST /containers/create"));
}

static void says_what_is_missing_before_anything_starts(void **state)
{
    struct world *w = *state;

    w->begin_status = 404;
    assert_int_equal(run(w, "img"), 125);
    assert_one_line(w, "no sensor of this machine reports to cbformula");
    assert_nothing_started(w);
    w->health = "{\"status\":\"ill\"}";
    assert_int_equal(run(w, "img"), 125);
    assert_one_line(w, "is no cbformula in good health");
    w->health = "{\"status\":\"ok\"}";
    w->image_error = "No such image: img:latest";
    assert_int_equal(run(w, "img"), 125);
    assert_one_line(w, "no such image 'img': docker pull img, or use --pull");
    assert_int_equal(run(w, "--docker-host unix:///nowhere/docker.sock img"), 125);
    assert_one_line(w, "cannot reach Docker at unix:///nowhere/docker.sock");
    assert_int_equal(run(w, "--docker-host unix:///proc/version img"), 125);
    assert_one_line(w, "nobody listens on the socket");
    assert_int_equal(run(w, "--docker-host tcp://127.0.0.1:1 img"), 125);
    assert_one_line(w, "is not unix:///path");
    assert_int_equal(run(w, "--formula http://127.0.0.1:1 img"), 125);
    assert_one_line(w, "cannot reach cbformula at http://127.0.0.1:1");
    assert_int_equal(run(w, "--formula ftp://x img"), 125);
    assert_one_line(w, "is not an address");
    assert_int_equal(run(w, "UPPER/../x img"), 125);
    assert_one_line(w, "no such image");
    assert_int_equal(run(w, "../x"), 125);
    assert_one_line(w, "not the name of an image");
    assert_nothing_started(w);
}

static void refuses_wrong_options_with_one_line(void **state)
{
    static const struct {
        const char *arguments, *names;
    } table[] = {
        {"--nope img", "unknown option '--nope'"},
        {"--idle some img", "option --idle"},
        {"--cpus 0 img", "option --cpus"},
        {"--cpus x img", "option --cpus"},
        {"--cpuset-cpus 3-1 img", "option --cpuset-cpus"},
        {"--cpuset-cpus= img", "option --cpuset-cpus"},
        {"-m 5x img", "option --memory"},
        {"-m m img", "option --memory"},
        {"-m 99999999999999g img", "option --memory"},
        {"-m 0 img", "option --memory"},
        {"-e =x img", "option --env"},
        {"--timeout soon img", "option --timeout"},
        {"--name= img", "test's name"},
    };
    struct world *w = *state;

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        assert_int_equal(run(w, table[i].arguments), 2);
        assert_one_line(w, table[i].names);
    }
    assert_int_equal(run(w, ""), 2);
    assert_string_equal(w->err, CB_TESTER_USAGE "; see --help\n");
    assert_int_equal(w->docker.log_size + w->formula.log_size, 0);
}

static void pulls_when_it_is_asked_to(void **state)
{
    struct world *w = *state;

    w->image_error = "No such image";
    w->pull_error = "{\"status\":\"x\"}\r\n{\"error\":\"manifest unknown\"}\r\n";
    assert_int_equal(run(w, "--pull r:5000/a/img"), 125);
    assert_one_line(w, "cannot pull r:5000/a/img: manifest unknown");
    assert_true(fake_server_saw(
        &w->docker, "POST /v1.41/images/create?fromImage=r%3A5000%2Fa%2Fimg&tag=latest"));
    assert_nothing_started(w);
    w->pull_error = "{\"status\":\"x\"}\n{\"error\":\"no end of line\"}";
    assert_int_equal(run(w, "--pull img"), 125);
    assert_one_line(w, "cannot pull img: no end of line");
    w->pull_error = NULL;
    assert_int_equal(run(w, "--pull img:2"), 0);
    assert_true(fake_server_saw(&w->docker, "POST /v1.41/images/create?fromImage=img%3A2 "));
}

static void tells_a_command_that_cannot_run(void **state)
{
    static const struct {
        const char *error;
        int code;
    } table[] = {
        {"OCI: exec: \\\"x\\\": executable file not found in $PATH: unknown", 127},
        {"OCI: exec: \\\"/x\\\": stat /x: no such file or directory: unknown", 127},
        {"OCI: exec: \\\"/etc\\\": permission denied: unknown", 126},
        {"OCI: exec: \\\"/etc\\\": is a directory: unknown", 126},
        {"network nonet not found", 125},
        {"error gathering device information: no such file or directory", 125},
    };
    struct world *w = *state;

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        w->start_error = table[i].error;
        w->created = w->removed = w->killed = w->ended = false;
        assert_int_equal(run(w, "img x"), table[i].code);
        assert_one_line(w, "Docker cannot start the container: ");
        assert_removed(w);
    }
    assert_true(fake_server_saw(&w->formula, "DELETE /api/v1/tests/7"));
}

static void gives_the_test_up_when_nothing_can_be_created(void **state)
{
    struct world *w = *state;

    w->create_error = "invalid mode: x";
    assert_int_equal(run(w, "img"), 125);
    assert_one_line(w, "Docker cannot create the container: invalid mode: x");
    assert_true(fake_server_saw(&w->formula, "DELETE /api/v1/tests/7"));
}

static void removes_a_container_whose_creation_was_not_answered(void **state)
{
    struct world *w = *state;

    w->cut_at = "/containers/create";
    assert_int_equal(run(w, "img"), 125);
    assert_one_line(w, "Docker cannot create the container");
    assert_removed(w);
    assert_true(fake_server_saw(&w->docker, "DELETE /v1.41/containers/cbtest-img-"));
}

static void survives_an_engine_that_breaks_off(void **state)
{
    static const char *const places[] = {"/attach", "/start", "/wait", "/containers/json"};
    struct world *w = *state;

    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        w->cut_at = places[i];
        w->created = w->removed = w->started = w->killed = w->ended = false;
        w->runs_on = true;
        assert_int_equal(run(w, "img"), 125);
        assert_one_line(w, "");
        assert_int_equal(w->created, w->removed);
        assert_true(fake_server_saw(&w->formula, "DELETE /api/v1/tests/7"));
    }
}

static void survives_answers_that_are_nonsense(void **state)
{
    static const struct piece pieces[] = {{0, 0, "this is no stream of Docker's", false}};
    struct world *w = *state;

    w->odd_wait = true;
    assert_int_equal(run(w, "img"), 125);
    assert_one_line(w, "has no exit code");
    assert_removed(w);
    w->odd_wait = false;
    w->created = w->removed = w->started = w->killed = w->ended = false;
    w->pieces = pieces;
    w->n_pieces = 1;
    w->runs_on = true;
    assert_int_equal(run(w, "img"), 125);
    assert_one_line(w, "not in Docker's stream format");
    assert_removed(w);
}

static void tries_again_when_removing_fails(void **state)
{
    struct world *w = *state;

    w->removals_failing = 2;
    assert_int_equal(run(w, "img"), 0);
    assert_removed(w);
    assert_string_equal(w->err, "");
}

static void keeps_the_recap_when_removing_fails_for_good(void **state)
{
    struct world *w = *state;

    w->removals_failing = 1000;
    assert_int_equal(run(w, "--json img"), 0);
    assert_non_null(strstr(w->err,
                           "cannot remove the container (device or resource busy): docker rm "
                           "-f cbtest-img-"));
    assert_non_null(strstr(w->out, "\"phases\""));
}

static void a_signal_removes_the_container(void **state)
{
    static const struct {
        int number, code;
    } signals[] = {{SIGINT, 130}, {SIGTERM, 143}, {SIGHUP, 129}, {SIGQUIT, 131}};
    struct world *w = *state;

    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
        w->created = w->removed = w->started = w->killed = w->ended = false;
        w->docker.log_size = 0;
        memset(w->docker.log, 0, sizeof(w->docker.log));
        w->runs_on = true;
        begin_tester(w, "img");
        wait_until_started(w);
        assert_int_equal(kill(w->child, signals[i].number), 0);
        (void)kill(w->child, SIGTERM); /* the impatient do more; the first counts */
        assert_int_equal(end_tester(w), signals[i].code);
        assert_one_line(w, "interrupted");
        assert_removed(w);
    }
    assert_true(fake_server_saw(&w->formula, "DELETE /api/v1/tests/7"));
}

static void a_signal_ends_the_wait_for_the_recap(void **state)
{
    struct world *w = *state;

    w->not_covered = -1;
    begin_tester(w, "img");
    while (!fake_server_saw(&w->formula, "GET /api/v1/tests/7/recap"))
        fake_sleep_ms(2);
    assert_int_equal(kill(w->child, SIGINT), 0);
    assert_int_equal(end_tester(w), 130);
    assert_removed(w);
    /* the end was told: the formula keeps the test */
    assert_false(fake_server_saw(&w->formula, "DELETE"));
}

static void a_reader_that_does_not_read_cannot_hold_a_signal_up(void **state)
{
    static char line[8000];
    static struct piece pieces[64];
    struct world *w = *state;
    int pipe_fds[2];

    memset(line, 'x', sizeof(line) - 1);
    for (size_t i = 0; i < 64; i++)
        pieces[i] = (struct piece){0, 1, line, false};
    w->pieces = pieces;
    w->n_pieces = 64; /* 512 kB into a pipe of 64 kB */
    w->runs_on = true;
    assert_int_equal(pipe(pipe_fds), 0);
    w->reader_fd = pipe_fds[0];
    begin_tester_to(w, "img", pipe_fds[1]);
    wait_until_started(w);
    fake_sleep_ms(300);
    assert_int_equal(kill(w->child, SIGTERM), 0);
    for (int i = 0; i < 500 && !__atomic_load_n(&w->removed, __ATOMIC_SEQ_CST); i++)
        fake_sleep_ms(10);
    assert_removed(w);
    (void)close(pipe_fds[0]);
    (void)close(pipe_fds[1]);
    assert_int_equal(end_tester(w), 143);
}

static void ends_a_container_that_takes_too_long(void **state)
{
    struct world *w = *state;
    uint64_t before_ns = cb_clock_boot_ns();

    w->runs_on = true;
    assert_int_equal(run(w, "--timeout 200ms --json img"), 124);
    assert_in_range(cb_clock_boot_ns() - before_ns, 200000000, 8 * CB_NS_PER_S);
    assert_true(fake_server_saw(&w->docker, "POST /v1.41/containers/" ID "/kill"));
    assert_non_null(strstr(w->formula.log, "\"exit_code\":137"));
    assert_non_null(strstr(w->out, "\"phases\""));
    assert_removed(w);
}

static void a_container_that_ended_by_itself_cannot_be_killed(void **state)
{
    struct world *w = *state;

    w->runs_on = true;
    w->kill_error = "Container is not running";
    assert_int_equal(run(w, "--timeout 100ms --json img"), 124);
    assert_string_equal(w->err, "");
    assert_removed(w);
}

static void a_formula_that_goes_away_leaves_no_container(void **state)
{
    static const struct {
        const char *cut_at, *says;
    } table[] = {
        {"/end", "the container ran and ended with exit code 3, but cbformula was not told"},
        {"/recap",
         "the container ran and ended with exit code 3, but the recap is not there; get it "
         "later with curl"},
    };
    struct world *w = *state;

    for (size_t i = 0; i < 2; i++) {
        w->exit_code = 3;
        w->formula_cut_at = table[i].cut_at;
        w->created = w->removed = w->started = w->killed = w->ended = false;
        if (i > 0) {
            fake_server_stop(&w->formula);
            fake_server_listen(&w->formula, NULL);
        }
        assert_int_equal(run(w, "--recap-timeout 1s img"), 125);
        assert_one_line(w, table[i].says);
        assert_removed(w);
    }
}

static void a_formula_that_comes_back_is_told_the_end(void **state)
{
    struct world *w = *state;

    w->end_failures = 2;
    assert_int_equal(run(w, "img"), 0);
    assert_removed(w);
    assert_non_null(strstr(w->out, "(estimate)"));
}

static void waits_for_the_frame_that_covers_the_end(void **state)
{
    struct world *w = *state;

    w->not_covered = 3;
    assert_int_equal(run(w, "--json img"), 0);
    assert_non_null(strstr(w->out, "\"phases\""));
    w->not_covered = -1;
    w->started = w->killed = w->ended = false;
    assert_int_equal(run(w, "--recap-timeout 1s img"), 125);
    assert_one_line(w, "/api/v1/tests/7/recap?idle=none' | cbtester show -");
}

static void never_shows_a_recap_that_does_not_sum(void **state)
{
    struct world *w = *state;

    w->recap =
        "{\"name\":\"img\",\"exit_code\":0,\"phases\":[{\"phase\":\"execution\",\"seconds\":1,"
        "\"domains\":[{\"socket\":0,\"domain\":\"package\",\"source\":\"perf\",\"energy_uj\":16,"
        "\"dynamic_uj\":1,\"others_uj\":2,\"system_uj\":3,\"idle_uj\":4,\"unattributed_uj\":5,"
        "\"uncertainty_uj\":6}]}],\"others\":[]}";
    assert_int_equal(run(w, "--json img"), 125);
    assert_one_line(w, "the parts sum to 15 uJ, not to energy_uj 16");
    assert_removed(w);
}

static void tests_of_one_machine_take_turns(void **state)
{
    struct world *w = *state;

    fake_root_put(w->root, "lock", "4711 other\n");
    w->lock_fd = open(w->lock_path, O_RDWR | O_CLOEXEC);
    assert_int_equal(flock(w->lock_fd, LOCK_EX), 0);
    begin_tester(w, "img");
    for (int i = 0; i < 500 && !fake_server_saw(&w->docker, "GET /v1.41/images/"); i++)
        fake_sleep_ms(2);
    fake_sleep_ms(300);
    assert_false(fake_server_saw(&w->formula, "POST"));
    (void)flock(w->lock_fd, LOCK_UN);
    assert_int_equal(end_tester(w), 0);
    assert_string_equal(w->err,
                        "cbtester: waiting for process 4711, test 'other', one test runs at a "
                        "time (--no-lock lifts that)\n");
    /* without the lock it does not wait, and a signal ends the waiting */
    assert_int_equal(flock(w->lock_fd, LOCK_EX), 0);
    w->started = w->killed = w->ended = false;
    assert_int_equal(run(w, "--no-lock img"), 0);
    begin_tester(w, "img");
    fake_sleep_ms(300);
    assert_int_equal(kill(w->child, SIGINT), 0);
    assert_int_equal(end_tester(w), 130);
}

static void removes_what_a_killed_test_left_behind(void **state)
{
    struct world *w = *state;
    struct cb_owner owner;
    char text[CB_OWNER_TEXT], alive[CB_OWNER_TEXT];
    char list[2048];
    int root_fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    assert_int_equal(cb_owner_self(root_fd, &owner, NULL), 0);
    cb_owner_format(&owner, alive);
    owner.start_ticks += 5; /* a process that had our pid before */
    cb_owner_format(&owner, text);
    (void)close(root_fd);
    (void)snprintf(list, sizeof(list),
                   "[{\"Id\":\"" OLD_ID "\",\"Names\":[\"/cbtest-a\"],\"State\":\"running\","
                   "\"Labels\":{\"org.cbwatts.owner\":\"%s\"}},"
                   "{\"Id\":\"a%.63s\",\"Names\":[\"/cbtest-b\"],\"State\":\"running\","
                   "\"Labels\":{\"org.cbwatts.owner\":\"%s\"}},"
                   "{\"Id\":\"b%.63s\",\"Labels\":{\"org.cbwatts.owner\":\"?\"}},"
                   "{\"Id\":\"c%.63s\",\"Labels\":{}}]",
                   text, OLD_ID, alive, OLD_ID, OLD_ID);
    w->list = list;
    assert_int_equal(run(w, "img"), 0);
    assert_true(fake_server_saw(&w->docker,
                                "GET /v1.41/containers/json?all=1&filters=%7B%22label%22%"
                                "3A%5B%22org.cbwatts.uid%3D"));
    assert_true(fake_server_saw(&w->docker, "DELETE /v1.41/containers/" OLD_ID));
    assert_false(fake_server_saw(&w->docker, "DELETE /v1.41/containers/afed"));
    assert_false(fake_server_saw(&w->docker, "DELETE /v1.41/containers/bfed"));
    assert_false(fake_server_saw(&w->docker, "DELETE /v1.41/containers/cfed"));
    assert_string_equal(w->err,
                        "cbtester: removed the container fedcba987654, left behind by a test "
                        "that was killed\n");
}

/* @path holds every option of --help: "--name" as it is, or as a man page writes it. */
static void assert_documents(const char *help, const char *path)
{
    char *text = NULL;
    size_t size = 0;
    FILE *file = fopen(path, "re");

    assert_non_null(file);
    assert_true(getdelim(&text, &size, '\0', file) > 0);
    (void)fclose(file);
    for (const char *at = strstr(help, "\n  "); (at = strstr(at, "--")); at += 2) {
        int n = (int)strspn(at + 2, "abcdefghijklmnopqrstuvwxyz-");
        char plain[64], roff[128];
        size_t to = 0;

        if (n == 0)
            continue;
        (void)snprintf(plain, sizeof(plain), "%.*s", n + 2, at);
        for (const char *p = plain; *p; p++) {
            if (*p == '-')
                roff[to++] = '\\';
            roff[to++] = *p;
        }
        roff[to] = '\0';
        if (!strstr(text, plain) && !strstr(text, roff))
            fail_msg("%s says nothing of %s", path, plain);
    }
    free(text);
}

static void every_option_is_documented(void **state)
{
    struct world *w = *state;

    assert_int_equal(run(w, "--help"), 0);
    assert_non_null(strstr(w->out, "--cpuset-cpus"));
    assert_documents(w->out, "docs/man/cbtester.1");
    assert_documents(w->out, "docs/completion/cbtester");
    assert_int_equal(run(w, "--version"), 0);
    assert_string_equal(w->out, "cbtester " CB_VERSION "\n");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(passes_the_output_and_the_exit_code_on),
        TEST(attaches_before_the_start_and_removes_before_the_recap),
        TEST(prints_the_json_as_it_came),
        TEST(marks_begin_and_end_by_the_machines_clock),
        TEST(says_when_the_measured_part_never_began),
        TEST(a_terminal_has_no_headers),
        TEST(quiet_drops_the_output),
        TEST(hands_the_limits_to_docker),
        TEST(agrees_on_the_version_with_old_and_new_engines),
        TEST(says_what_is_missing_before_anything_starts),
        TEST(refuses_wrong_options_with_one_line),
        TEST(pulls_when_it_is_asked_to),
        TEST(tells_a_command_that_cannot_run),
        TEST(gives_the_test_up_when_nothing_can_be_created),
        TEST(removes_a_container_whose_creation_was_not_answered),
        TEST(survives_an_engine_that_breaks_off),
        TEST(survives_answers_that_are_nonsense),
        TEST(tries_again_when_removing_fails),
        TEST(keeps_the_recap_when_removing_fails_for_good),
        TEST(a_signal_removes_the_container),
        TEST(a_signal_ends_the_wait_for_the_recap),
        TEST(a_reader_that_does_not_read_cannot_hold_a_signal_up),
        TEST(ends_a_container_that_takes_too_long),
        TEST(a_container_that_ended_by_itself_cannot_be_killed),
        TEST(a_formula_that_goes_away_leaves_no_container),
        TEST(a_formula_that_comes_back_is_told_the_end),
        TEST(waits_for_the_frame_that_covers_the_end),
        TEST(never_shows_a_recap_that_does_not_sum),
        TEST(tests_of_one_machine_take_turns),
        TEST(removes_what_a_killed_test_left_behind),
        TEST(every_option_is_documented),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
