/* SPDX-License-Identifier: Apache-2.0 */
/* docker.c - see docker.h. */
#include "sensor/docker.h"

#include <curl/curl.h>
#include <errno.h>
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/err.h"
#include "lib/log.h"
#include "sensor/container_files.h"

#define UNIX_SCHEME "unix://"
#define QUESTIONS 4096
#define REPLY_MAX (1u << 20)
#define TIMEOUT_MS 5000L
#define RETRY_NS (10 * CB_NS_PER_S)
#define FILES_SHARE 9 /* at most a tenth of the time goes into files */
#define EVENT_MAX 16384
#define CGROUP_SIZE 512
/* {"type":["container"],"event":["rename"]} */
#define EVENTS_URL                                                                                 \
    "http://docker/events?since=%lld&filters=%%7B%%22type%%22%%3A%%5B%%22container%%22%%5D%%2C"    \
    "%%22event%%22%%3A%%5B%%22rename%%22%%5D%%7D"

struct reply {
    char *text;
    size_t size;
};

struct question {
    char id[CB_CONTAINER_ID_SIZE];
    char cgroup[CGROUP_SIZE]; /* cut short, it is of no use but does no harm */
};

struct cb_docker {
    int root_fd;
    char socket[sizeof(((struct sockaddr_un *)0)->sun_path)]; /* "": files only */
    int epoll_fd; /* the timer and curl's sockets: there is something to do */
    int timer_fd;
    uint64_t curl_ns; /* when curl wants to be called; 0: when a socket is ready */
    CURLM *multi;

    CURL *ask; /* under way, or kept for the next question */
    bool asking;
    bool refused_said;
    struct question question; /* the one that is asked */
    struct reply reply;
    uint64_t engine_again_ns; /* it hung: not asked before */
    uint64_t files_again_ns;  /* for they take the time of the ticks' thread */
    struct cb_log_limit limit;

    CURL *events; /* NULL: the stream is broken */
    uint64_t events_again_ns;
    time_t events_since;
    size_t n_line;
    bool line_too_long;
    char line[EVENT_MAX];

    size_t first, n_questions;
    struct question *questions; /* [QUESTIONS] */
    size_t n_answers, room_answers, next_answer;
    struct cb_docker_answer *answers;
};

/* ---- answers and events ---- */

void cb_docker_answer_fini(struct cb_docker_answer *answer)
{
    cb_container_text_fini(&answer->text);
    *answer = (struct cb_docker_answer){0};
}

bool cb_docker_parse_rename(const char *line, size_t size, char ret_id[CB_CONTAINER_ID_SIZE])
{
    json_t *event = json_loadb(line, size, 0, NULL);
    const char *type = json_string_value(json_object_get(event, "Type"));
    const char *action = json_string_value(json_object_get(event, "Action"));
    const char *id = json_string_value(json_object_get(json_object_get(event, "Actor"), "ID"));
    bool is_rename = type && action && id && strcmp(type, "container") == 0 &&
                     strcmp(action, "rename") == 0 && cb_cgroup_id_parse(id, ret_id) &&
                     strcmp(id, ret_id) == 0;

    json_decref(event);
    return is_rename;
}

/* ---- asking ---- */

static size_t take_reply(char *bytes, size_t one, size_t n, void *context)
{
    struct reply *reply = context;
    char *more;

    (void)one; /* always 1 */
    if (reply->size + n > REPLY_MAX)
        return 0;
    more = realloc(reply->text, reply->size + n + 1);
    if (!more)
        return 0;
    memcpy(more + reply->size, bytes, n);
    reply->text = more;
    reply->size += n;
    return n;
}

static bool set_up_curl(struct cb_docker *docker, CURL *c, const char *url)
{
    return curl_easy_setopt(c, CURLOPT_UNIX_SOCKET_PATH, docker->socket) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_URL, url) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_PROXY, "") == CURLE_OK;
}

/* False: it cannot be asked now. */
static bool ask_engine(struct cb_docker *docker)
{
    char url[128];

    if (!docker->socket[0] || cb_clock_boot_ns() < docker->engine_again_ns)
        return false;
    if (!docker->ask)
        docker->ask = curl_easy_init();
    (void)snprintf(url, sizeof(url), "http://docker/containers/%s/json", docker->question.id);
    docker->asking = docker->ask && set_up_curl(docker, docker->ask, url) &&
                     curl_easy_setopt(docker->ask, CURLOPT_TIMEOUT_MS, TIMEOUT_MS) == CURLE_OK &&
                     curl_easy_setopt(docker->ask, CURLOPT_WRITEFUNCTION, take_reply) == CURLE_OK &&
                     curl_easy_setopt(docker->ask, CURLOPT_WRITEDATA, &docker->reply) == CURLE_OK &&
                     curl_multi_add_handle(docker->multi, docker->ask) == CURLM_OK;
    return docker->asking;
}

static void put_answer(struct cb_docker *docker, struct cb_docker_answer *answer)
{
    if (docker->n_answers == docker->room_answers) {
        size_t room = docker->room_answers ? docker->room_answers * 2 : 16;
        struct cb_docker_answer *more = realloc(docker->answers, room * sizeof(*more));

        if (!more) {
            cb_docker_answer_fini(answer);
            return;
        }
        docker->answers = more;
        docker->room_answers = room;
    }
    docker->answers[docker->n_answers++] = *answer;
}

/* @answer has what the engine said, if it said anything. */
static void finish(struct cb_docker *docker, struct cb_docker_answer *answer)
{
    const struct question *question = &docker->question;
    struct cb_err err = {0};
    char uid[CB_POD_UID_SIZE];

    memcpy(answer->id, question->id, sizeof(answer->id));
    if (!answer->found) {
        uint64_t begin_ns = cb_clock_boot_ns();
        uint64_t end_ns;

        answer->found = cb_container_files_look_up(docker->root_fd, question->id, question->cgroup,
                                                   &answer->text, &err) == 0;
        end_ns = cb_clock_boot_ns();
        docker->files_again_ns = end_ns + FILES_SHARE * (end_ns - begin_ns);
    }
    if (cb_cgroup_id_pod(question->cgroup, uid)) {
        cb_container_text_add_label(&answer->text, "io.kubernetes.pod.uid", uid);
        answer->found = true;
    }
    if (!answer->found)
        cb_log_limited(&docker->limit, 60 * CB_NS_PER_S, CB_LOG_DEBUG,
                       "container %.12s: no name: %s", answer->id, err.text);
    put_answer(docker, answer);
}

/* The rights stay as they are, so once is enough. */
static void say_refused(struct cb_docker *docker, CURL *c)
{
    long code = 0;

    (void)curl_easy_getinfo(c, CURLINFO_OS_ERRNO, &code);
    if (docker->refused_said || (code != EACCES && code != EPERM))
        return;
    docker->refused_said = true;
    cb_log_warn("%s: %s: names, images and labels of containers come from files only; run as root "
                "or in the group of that socket",
                docker->socket, strerror((int)code));
}

static void finish_asking(struct cb_docker *docker, CURLcode code)
{
    struct cb_docker_answer answer = {0};
    struct cb_err err = {0};
    long status = 0;
    int r;

    (void)curl_easy_getinfo(docker->ask, CURLINFO_RESPONSE_CODE, &status);
    (void)curl_multi_remove_handle(docker->multi, docker->ask);
    docker->asking = false;
    if (code == CURLE_OPERATION_TIMEDOUT) /* it hangs: not once for each container */
        docker->engine_again_ns = cb_clock_boot_ns() + RETRY_NS;
    if (code != CURLE_OK)
        r = cb_err_set(&err, ECONNREFUSED, "no answer: %s", curl_easy_strerror(code));
    else if (status != 200 || !docker->reply.text)
        r = cb_err_set(&err, ENOENT, "it answers %ld", status);
    else
        r = cb_container_text_docker(docker->reply.text, docker->reply.size, &answer.text, &err);
    if (r < 0)
        cb_log_limited(&docker->limit, 60 * CB_NS_PER_S, CB_LOG_DEBUG, "container %.12s, %s: %s",
                       docker->question.id, docker->socket, err.text);
    free(docker->reply.text);
    docker->reply = (struct reply){0};
    answer.found = r == 0;
    finish(docker, &answer);
}

static bool put_question(struct cb_docker *docker, const char *id, const char *cgroup)
{
    struct question *question;

    if (docker->n_questions == QUESTIONS)
        return false;
    question = &docker->questions[(docker->first + docker->n_questions++) % QUESTIONS];
    (void)snprintf(question->id, sizeof(question->id), "%s", id);
    (void)snprintf(question->cgroup, sizeof(question->cgroup), "%s", cgroup);
    return true;
}

/* ---- the stream of events ---- */

static void take_line(struct cb_docker *docker)
{
    char id[CB_CONTAINER_ID_SIZE];

    docker->events_since = time(NULL); /* the engine's clock is ours; once too often does no harm */
    if (!docker->line_too_long && cb_docker_parse_rename(docker->line, docker->n_line, id))
        (void)put_question(docker, id, "");
    docker->n_line = 0;
    docker->line_too_long = false;
}

static size_t take_events(char *bytes, size_t one, size_t n, void *context)
{
    struct cb_docker *docker = context;

    (void)one; /* always 1 */
    for (size_t i = 0; i < n; i++) {
        if (bytes[i] == '\n')
            take_line(docker);
        else if (docker->n_line < sizeof(docker->line))
            docker->line[docker->n_line++] = bytes[i];
        else
            docker->line_too_long = true;
    }
    return n;
}

static void stop_events(struct cb_docker *docker)
{
    if (!docker->events)
        return;
    (void)curl_multi_remove_handle(docker->multi, docker->events);
    curl_easy_cleanup(docker->events);
    docker->events = NULL;
    docker->events_again_ns = cb_clock_boot_ns() + RETRY_NS;
}

static void start_events(struct cb_docker *docker)
{
    char url[256];

    docker->events = curl_easy_init();
    docker->n_line = 0;
    docker->line_too_long = false;
    (void)snprintf(url, sizeof(url), EVENTS_URL, (long long)docker->events_since);
    if (docker->events && set_up_curl(docker, docker->events, url) &&
        curl_easy_setopt(docker->events, CURLOPT_CONNECTTIMEOUT_MS, TIMEOUT_MS) == CURLE_OK &&
        curl_easy_setopt(docker->events, CURLOPT_WRITEFUNCTION, take_events) == CURLE_OK &&
        curl_easy_setopt(docker->events, CURLOPT_WRITEDATA, docker) == CURLE_OK &&
        curl_multi_add_handle(docker->multi, docker->events) == CURLM_OK)
        return;
    stop_events(docker);
}

/* ---- what is to do ---- */

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *context, void *known)
{
    const struct cb_docker *docker = context;
    struct epoll_event event = {.data.fd = fd};

    (void)easy;
    event.events = (what & CURL_POLL_IN ? EPOLLIN : 0) | (what & CURL_POLL_OUT ? EPOLLOUT : 0);
    if (what == CURL_POLL_REMOVE)
        (void)epoll_ctl(docker->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
    else if (epoll_ctl(docker->epoll_fd, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event) == 0)
        (void)curl_multi_assign(docker->multi, fd, context); /* known from now on */
    return 0;
}

static int on_timeout(CURLM *multi, long timeout_ms, void *context)
{
    struct cb_docker *docker = context;

    (void)multi;
    docker->curl_ns = timeout_ms < 0 ? 0 : cb_clock_boot_ns() + (uint64_t)timeout_ms * 1000000;
    return 0;
}

/* The timer goes off when the next thing is due. */
static void set_timer(struct cb_docker *docker)
{
    struct itimerspec spec = {0};
    uint64_t due_ns = docker->curl_ns ? docker->curl_ns : UINT64_MAX;

    if (docker->socket[0] && !docker->events && docker->events_again_ns < due_ns)
        due_ns = docker->events_again_ns;
    if (docker->n_questions > 0 && !docker->asking && docker->files_again_ns < due_ns)
        due_ns = docker->files_again_ns;
    if (due_ns == 0)
        due_ns = 1; /* the past, but not "never" */
    if (due_ns != UINT64_MAX) {
        spec.it_value.tv_sec = (time_t)(due_ns / CB_NS_PER_S);
        spec.it_value.tv_nsec = (long)(due_ns % CB_NS_PER_S);
    }
    (void)timerfd_settime(docker->timer_fd, TFD_TIMER_ABSTIME, &spec, NULL);
}

static void take_done(struct cb_docker *docker)
{
    int left = 0;

    for (const CURLMsg *m; (m = curl_multi_info_read(docker->multi, &left));) {
        if (m->msg != CURLMSG_DONE)
            continue;
        if (m->data.result == CURLE_COULDNT_CONNECT)
            say_refused(docker, m->easy_handle);
        if (m->easy_handle == docker->ask)
            finish_asking(docker, m->data.result);
        else
            stop_events(docker);
    }
}

/* One question at a time, and from files not faster than they may be read. */
static void next_question(struct cb_docker *docker)
{
    struct cb_docker_answer answer = {0};

    if (docker->asking || docker->n_questions == 0 || cb_clock_boot_ns() < docker->files_again_ns)
        return;
    docker->question = docker->questions[docker->first];
    docker->first = (docker->first + 1) % QUESTIONS;
    docker->n_questions--;
    if (!ask_engine(docker))
        finish(docker, &answer);
}

static void work(struct cb_docker *docker)
{
    struct epoll_event events[4];
    uint64_t expirations;
    int running;
    int n = epoll_wait(docker->epoll_fd, events, sizeof(events) / sizeof(events[0]), 0);

    if (n <= 0)
        return;
    for (int i = 0; i < n; i++) {
        uint32_t ready = events[i].events;
        int mask = (ready & EPOLLIN ? CURL_CSELECT_IN : 0) |
                   (ready & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
                   (ready & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0);

        if (events[i].data.fd == docker->timer_fd)
            (void)!read(docker->timer_fd, &expirations, sizeof(expirations)); /* set anew below */
        else
            (void)curl_multi_socket_action(docker->multi, events[i].data.fd, mask, &running);
    }
    if (docker->curl_ns && cb_clock_boot_ns() >= docker->curl_ns) {
        docker->curl_ns = 0;
        (void)curl_multi_socket_action(docker->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    }
    take_done(docker);
    if (docker->socket[0] && !docker->events && cb_clock_boot_ns() >= docker->events_again_ns)
        start_events(docker);
    next_question(docker);
    set_timer(docker);
}

/* ---- the caller's side ---- */

/* -EINVAL: no address that we can ask. */
static int check_host(const char *host, struct cb_err *err)
{
    if (!*host)
        return 0;
    if (strncmp(host, UNIX_SCHEME, strlen(UNIX_SCHEME)) != 0)
        return cb_err_set(err, EINVAL,
                          "Docker host '%s': only unix:///path can be asked for the containers of "
                          "this machine (--docker-host)",
                          host);
    host += strlen(UNIX_SCHEME);
    if (*host != '/' || strlen(host) >= sizeof(((struct cb_docker *)0)->socket))
        return cb_err_set(err, EINVAL, "Docker host 'unix://%s' is no absolute path of a socket",
                          host);
    return 0;
}

static int open_descriptors(struct cb_docker *docker, struct cb_err *err)
{
    struct epoll_event event = {.events = EPOLLIN};

    docker->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    docker->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    event.data.fd = docker->timer_fd;
    if (docker->epoll_fd < 0 || docker->timer_fd < 0 ||
        epoll_ctl(docker->epoll_fd, EPOLL_CTL_ADD, docker->timer_fd, &event) < 0)
        return cb_err_set(err, errno, "no descriptors for asking after containers: %s",
                          strerror(errno));
    return 0;
}

static int open_curl(struct cb_docker *docker, struct cb_err *err)
{
    docker->multi = curl_multi_init();
    if (docker->multi &&
        curl_multi_setopt(docker->multi, CURLMOPT_SOCKETFUNCTION, on_socket) == CURLM_OK &&
        curl_multi_setopt(docker->multi, CURLMOPT_SOCKETDATA, docker) == CURLM_OK &&
        curl_multi_setopt(docker->multi, CURLMOPT_TIMERFUNCTION, on_timeout) == CURLM_OK &&
        curl_multi_setopt(docker->multi, CURLMOPT_TIMERDATA, docker) == CURLM_OK)
        return 0;
    return cb_err_set(err, ENOMEM, "out of memory");
}

int cb_docker_open(int root_fd, const char *host, struct cb_docker **ret_docker, struct cb_err *err)
{
    struct cb_docker *docker = calloc(1, sizeof(*docker));
    int r;

    if (!docker)
        return cb_err_set(err, ENOMEM, "out of memory");
    docker->root_fd = root_fd;
    docker->epoll_fd = docker->timer_fd = -1;
    docker->events_since = time(NULL);
    docker->questions = calloc(QUESTIONS, sizeof(*docker->questions));
    r = docker->questions ? check_host(host, err) : cb_err_set(err, ENOMEM, "out of memory");
    if (r == 0 && *host)
        (void)snprintf(docker->socket, sizeof(docker->socket), "%s", host + strlen(UNIX_SCHEME));
    if (r == 0)
        r = open_descriptors(docker, err);
    if (r == 0)
        r = open_curl(docker, err);
    if (r < 0) {
        (void)cb_docker_close(docker);
        return r;
    }
    set_timer(docker);
    *ret_docker = docker;
    return 0;
}

struct cb_docker *cb_docker_close(struct cb_docker *docker)
{
    if (!docker)
        return NULL;
    stop_events(docker);
    if (docker->asking)
        (void)curl_multi_remove_handle(docker->multi, docker->ask);
    if (docker->ask)
        curl_easy_cleanup(docker->ask);
    if (docker->multi)
        (void)curl_multi_cleanup(docker->multi);
    if (docker->timer_fd >= 0)
        (void)close(docker->timer_fd);
    if (docker->epoll_fd >= 0)
        (void)close(docker->epoll_fd);
    for (size_t i = docker->next_answer; i < docker->n_answers; i++)
        cb_docker_answer_fini(&docker->answers[i]);
    free(docker->reply.text);
    free(docker->answers);
    free(docker->questions);
    free(docker);
    return NULL;
}

bool cb_docker_ask(struct cb_docker *docker, const char *id, const char *cgroup)
{
    bool room = put_question(docker, id, cgroup);

    if (room && !docker->asking)
        set_timer(docker);
    return room;
}

int cb_docker_fd(const struct cb_docker *docker)
{
    return docker->epoll_fd;
}

bool cb_docker_take(struct cb_docker *docker, struct cb_docker_answer *ret_answer)
{
    if (docker->next_answer == docker->n_answers)
        work(docker);
    if (docker->next_answer == docker->n_answers) {
        docker->next_answer = docker->n_answers = 0;
        return false;
    }
    *ret_answer = docker->answers[docker->next_answer++];
    return true;
}
