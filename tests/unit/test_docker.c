/* SPDX-License-Identifier: Apache-2.0 */
/* test_docker.c - sensor/docker.c against files and a made-up engine on a unix socket. The texts
 * are cut from what Docker 20.10.24 answered on the build machine (2026-11-22). */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/err.h"
#include "lib/frame.h"
#include "sensor/docker.h"
#include "sensor/fsread.h"
#include "tests/support/capture.h"
#include "tests/support/fake_root.h"

#define A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define JSON                                                                                       \
    "{\"Id\":\"" A "\",\"Name\":\"/web\",\"State\":{\"Running\":true},"                            \
    "\"Config\":{\"Hostname\":\"a\",\"Image\":\"cb/busy\",\"Labels\":{\"a\":\"b\",\"n\":1}}}"

/* ---- the thread ---- */

static struct cb_docker_answer wait_answer(struct cb_docker *docker)
{
    struct pollfd fd = {.fd = cb_docker_fd(docker), .events = POLLIN};
    struct cb_docker_answer answer = {0};

    do /* the descriptor may still tell of an answer that is taken */
        assert_int_equal(poll(&fd, 1, 10000), 1);
    while (!cb_docker_take(docker, &answer));
    return answer;
}

static void reads_dockers_own_file(void **state)
{
    struct fake_root *root = *state;
    struct cb_docker *docker = NULL;
    struct cb_docker_answer answer;

    fake_root_put(root, "var/lib/docker/containers/" A "/config.v2.json", "%s", JSON);
    assert_int_equal(cb_docker_open(root->fd, "", &docker, NULL), 0);
    assert_false(cb_docker_take(docker, &answer));
    assert_true(cb_docker_ask(docker, A, "/docker/" A));
    answer = wait_answer(docker);
    assert_string_equal(answer.id, A);
    assert_true(answer.found);
    assert_string_equal(answer.text.name, "web");
    cb_docker_answer_fini(&answer);
    assert_true(cb_docker_ask(docker, B, "/docker/" B));
    answer = wait_answer(docker);
    assert_string_equal(answer.id, B);
    assert_false(answer.found);
    cb_docker_answer_fini(&answer);
    assert_false(cb_docker_take(docker, &answer));
    docker = cb_docker_close(docker);
}

/* A made-up engine: answers each connection by the path asked for, until it is stopped. */
struct engine {
    int listen_fd;
    const char *reply;         /* to /containers/...; NULL: hang up at once */
    const char *events;        /* what /events streams; NULL: it is unknown */
    char request[1024];        /* the last one for a container */
    char events_request[1024]; /* the last one for events */
    atomic_int n_events_requests;
    pthread_t thread;
};

static void read_request(int fd, char *request, size_t size)
{
    size_t n = 0;

    while (n + 1 < size && !strstr(request, "\r\n\r\n")) {
        ssize_t got = read(fd, request + n, size - 1 - n);

        if (got <= 0)
            return;
        n += (size_t)got;
        request[n] = '\0';
    }
}

static void answer_events(struct engine *engine, int fd)
{
    char head[] = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n";

    if (engine->events) {
        (void)!write(fd, head, strlen(head));
        (void)!write(fd, engine->events, strlen(engine->events));
    }
    atomic_fetch_add(&engine->n_events_requests, 1);
}

static void *serve(void *context)
{
    struct engine *engine = context;
    int fd;

    while ((fd = accept(engine->listen_fd, NULL, NULL)) >= 0) {
        char request[1024] = "";

        read_request(fd, request, sizeof(request));
        if (strncmp(request, "GET /events", 11) == 0) {
            memcpy(engine->events_request, request, sizeof(request));
            answer_events(engine, fd);
        } else {
            memcpy(engine->request, request, sizeof(request));
            if (engine->reply)
                (void)!write(fd, engine->reply, strlen(engine->reply));
        }
        (void)close(fd);
    }
    return NULL;
}

static void start_engine(struct engine *engine, const struct fake_root *root, char host[128])
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s/docker.sock", root->dir);
    (void)snprintf(host, 128, "unix://%s", address.sun_path);
    engine->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(engine->listen_fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(engine->listen_fd, 5), 0);
    assert_int_equal(pthread_create(&engine->thread, NULL, serve, engine), 0);
}

static void stop_engine(struct engine *engine)
{
    (void)shutdown(engine->listen_fd, SHUT_RDWR);
    assert_int_equal(pthread_join(engine->thread, NULL), 0);
    (void)close(engine->listen_fd);
}

static struct cb_docker_answer ask_engine(struct fake_root *root, const char *reply,
                                          struct engine *engine)
{
    struct cb_docker *docker = NULL;
    struct cb_docker_answer answer;
    char host[128];

    *engine = (struct engine){.reply = reply};
    start_engine(engine, root, host);
    assert_int_equal(cb_docker_open(root->fd, host, &docker, NULL), 0);
    assert_true(cb_docker_ask(docker, A, "/docker/" A));
    answer = wait_answer(docker);
    docker = cb_docker_close(docker);
    stop_engine(engine);
    return answer;
}

static void asks_the_engine_first(void **state)
{
    struct fake_root *root = *state;
    struct engine engine;
    struct cb_docker_answer answer;
    char reply[1024];

    fake_root_put(root, "var/lib/docker/containers/" A "/config.v2.json", "{\"Name\":\"/file\"}");
    (void)snprintf(reply, sizeof(reply), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s",
                   strlen(JSON), JSON);
    answer = ask_engine(root, reply, &engine);
    assert_string_equal(answer.text.name, "web");
    assert_non_null(strstr(engine.request, "GET /containers/" A "/json HTTP/1.1"));
    cb_docker_answer_fini(&answer);
}

static void takes_the_file_when_the_engine_is_of_no_help(void **state)
{
    static const char *const replies[] = {
        "HTTP/1.1 404 Not Found\r\nContent-Length: 24\r\n\r\n{\"message\":\"No such ...\"}",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{]}",
        "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{",
        "rubbish\r\n\r\n",
        NULL,
    };
    struct fake_root *root = *state;

    fake_root_put(root, "var/lib/docker/containers/" A "/config.v2.json", "{\"Name\":\"/file\"}");
    for (size_t i = 0; i < sizeof(replies) / sizeof(replies[0]); i++) {
        struct engine engine;
        struct cb_docker_answer answer = ask_engine(root, replies[i], &engine);

        assert_true(answer.found);
        assert_string_equal(answer.text.name, "file");
        cb_docker_answer_fini(&answer);
        assert_int_equal(unlinkat(root->fd, "docker.sock", 0), 0);
    }
}

#define EVENT(action, id)                                                                          \
    "{\"Type\":\"container\",\"Action\":\"" action "\",\"Actor\":{\"ID\":\"" id "\"}}\n"

static void asks_again_for_a_container_that_was_renamed(void **state)
{
    struct fake_root *root = *state;
    struct engine engine = {.events = "rubbish\n" EVENT("die", B) EVENT("rename", A)};
    struct cb_docker *docker = NULL;
    struct cb_docker_answer answer;
    char reply[1024];
    char host[128];

    (void)snprintf(reply, sizeof(reply), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s",
                   strlen(JSON), JSON);
    engine.reply = reply;
    start_engine(&engine, root, host);
    assert_int_equal(cb_docker_open(root->fd, host, &docker, NULL), 0);
    answer = wait_answer(docker); /* nobody asked */
    assert_string_equal(answer.id, A);
    assert_string_equal(answer.text.name, "web");
    cb_docker_answer_fini(&answer);
    docker = cb_docker_close(docker);
    stop_engine(&engine);
    assert_non_null(strstr(engine.events_request, "GET /events?since="));
    assert_non_null(strstr(engine.events_request, "%22rename%22"));
    assert_int_equal(atomic_load(&engine.n_events_requests), 1); /* not at once again */
}

/* Without its group, say: containers would have no names, and nobody would know why. */
static void an_engine_that_may_not_be_asked_is_told_once(void **state)
{
    struct fake_root *root = *state;
    struct cb_docker *docker = NULL;
    struct capture capture;
    char host[128], out[16], text[2048];
    const char *first;

    if (geteuid() != 0) {
        print_message("only root can drop to one that may not use the socket\n");
        skip();
    }
    (void)snprintf(host, sizeof(host), "unix://%s/docker.sock", root->dir);
    fake_root_put(root, "docker.sock", "not one that can be reached");
    assert_int_equal(cb_docker_open(root->fd, host, &docker, NULL), 0);
    capture_begin(&capture, root);
    assert_int_equal(seteuid(65534), 0); /* its directory is root's */
    for (int i = 0; i < 2; i++) {
        struct cb_docker_answer answer;

        assert_true(cb_docker_ask(docker, A, "/docker/" A));
        answer = wait_answer(docker);
        cb_docker_answer_fini(&answer);
    }
    assert_int_equal(seteuid(0), 0);
    capture_end(&capture, out, sizeof(out), text, sizeof(text));
    first = strstr(text, "docker.sock: Permission denied");
    assert_non_null(first);
    assert_non_null(strstr(first, "group"));
    assert_null(strstr(first + 1, "docker.sock"));
    docker = cb_docker_close(docker);
}

static void takes_the_pods_uid_from_the_path_when_nobody_knows_more(void **state)
{
    struct fake_root *root = *state;
    struct cb_docker *docker = NULL;
    struct cb_docker_answer answer;

    assert_int_equal(cb_docker_open(root->fd, "", &docker, NULL), 0);
    assert_true(
        cb_docker_ask(docker, A, "/kubepods/burstable/pod8c8e3b52-1f0a-4f9e-9d6b-0d7f6f5a4c3b/" A));
    answer = wait_answer(docker);
    assert_true(answer.found);
    assert_null(answer.text.name);
    assert_string_equal(answer.text.labels,
                        "{\"io.kubernetes.pod.uid\":\"8c8e3b52-1f0a-4f9e-9d6b-0d7f6f5a4c3b\"}");
    cb_docker_answer_fini(&answer);
    docker = cb_docker_close(docker);
}

static void knows_a_rename_from_other_lines(void **state)
{
    static const char *const others[] = {
        "",
        "{}",
        "[]",
        "{\"Type\":\"container\",\"Action\":\"rename\"}",
        "{\"Type\":\"image\",\"Action\":\"rename\",\"Actor\":{\"ID\":\"" A "\"}}",
        "{\"Type\":\"container\",\"Action\":\"rename\",\"Actor\":{\"ID\":\"../x\"}}",
        "{\"Type\":\"container\",\"Action\":\"rename\",\"Actor\":{\"ID\":\"docker-" A ".scope\"}}",
    };
    char id[CB_CONTAINER_ID_SIZE];
    cb_auto_free char *line = NULL;

    (void)state;
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        assert_false(cb_docker_parse_rename(others[i], strlen(others[i]), id));
    assert_int_equal(
        cb_fsread_all(AT_FDCWD, "tests/fixtures/runtimes/podman-event.json", 65536, &line, NULL),
        0);
    assert_true(cb_docker_parse_rename(line, strlen(line), id));
    assert_string_equal(id, "4cd06fd832947f9d269fe60077ab37614d8d5d640a723edf0009af7e68dfa49a");
}

static void a_slow_engine_does_not_hold_up_the_end(void **state)
{
    struct fake_root *root = *state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct cb_docker *docker = NULL;
    char host[128];
    int fds_before = count_open_fds();
    int listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s/s", root->dir);
    (void)snprintf(host, sizeof(host), "unix://%s", address.sun_path);
    assert_int_equal(bind(listen_fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(listen_fd, 5), 0); /* and never an accept */
    assert_int_equal(cb_docker_open(root->fd, host, &docker, NULL), 0);
    for (int i = 0; i < 100; i++)
        assert_true(cb_docker_ask(docker, A, "/docker/" A));
    docker = cb_docker_close(docker);
    (void)close(listen_fd);
    assert_int_equal(count_open_fds(), fds_before);
}

static void holds_no_more_questions_than_it_can(void **state)
{
    struct fake_root *root = *state;
    struct cb_docker *docker = NULL;
    size_t asked = 0;

    /* the thread works them off meanwhile, so more than the room may pass, but never block */
    assert_int_equal(cb_docker_open(root->fd, "", &docker, NULL), 0);
    for (size_t i = 0; i < 20000; i++)
        asked += cb_docker_ask(docker, B, "/docker/" B);
    assert_in_range(asked, 4096, 20000);
    docker = cb_docker_close(docker);
}

static void refuses_other_addresses(void **state)
{
    static const char *const bad[] = {"tcp://127.0.0.1:2375", "unix://", "unix://relative",
                                      "/var/run/docker.sock"};
    struct fake_root *root = *state;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct cb_docker *docker = NULL;
        struct cb_err err = {0};

        assert_int_equal(cb_docker_open(root->fd, bad[i], &docker, &err), -EINVAL);
        assert_non_null(strstr(err.text, "unix://"));
        assert_null(docker);
    }
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, fake_root_setup, fake_root_teardown)
    const struct CMUnitTest tests[] = {
        TEST(reads_dockers_own_file),
        TEST(asks_the_engine_first),
        TEST(asks_again_for_a_container_that_was_renamed),
        TEST(an_engine_that_may_not_be_asked_is_told_once),
        TEST(takes_the_pods_uid_from_the_path_when_nobody_knows_more),
        cmocka_unit_test(knows_a_rename_from_other_lines),
        TEST(takes_the_file_when_the_engine_is_of_no_help),
        TEST(a_slow_engine_does_not_hold_up_the_end),
        TEST(holds_no_more_questions_than_it_can),
        TEST(refuses_other_addresses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
