/* SPDX-License-Identifier: Apache-2.0 */
/* docker.c - see docker.h. */
#include "sensor/docker.h"

#include <curl/curl.h>
#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/err.h"
#include "lib/log.h"
#include "sensor/container_files.h"

#define UNIX_SCHEME "unix://"
#define QUESTIONS 4096
#define REPLY_MAX (4u << 20)
#define TIMEOUT_MS 5000L
#define RETRY_NS (10 * CB_NS_PER_S)
#define WAIT_MS 60000
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
    int event_fd;
    pthread_t thread;
    bool started;
    char socket[sizeof(((struct sockaddr_un *)0)->sun_path)]; /* "": files only */

    /* the thread's */
    CURL *curl;
    uint64_t engine_again_ns; /* it did not answer: not asked before */
    struct cb_log_limit limit;
    CURL *events; /* NULL: the stream is broken */
    uint64_t events_again_ns;
    time_t events_since;
    size_t n_line;
    bool line_too_long;
    char line[EVENT_MAX];

    CURLM *multi;         /* the thread's, but for waking it up */
    pthread_mutex_t lock; /* of what follows */
    bool stop;
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

static int is_stopping(void *context, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    struct cb_docker *docker = context;
    bool stop;

    (void)a, (void)b, (void)c, (void)d;
    (void)pthread_mutex_lock(&docker->lock);
    stop = docker->stop;
    (void)pthread_mutex_unlock(&docker->lock);
    return stop;
}

static bool set_up_curl(struct cb_docker *docker, CURL *c, const char *url)
{
    return curl_easy_setopt(c, CURLOPT_UNIX_SOCKET_PATH, docker->socket) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_URL, url) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_PROXY, "") == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, is_stopping) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_XFERINFODATA, docker) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L) == CURLE_OK;
}

static int ask_engine(struct cb_docker *docker, struct cb_docker_answer *answer, struct cb_err *err)
{
    struct reply reply = {0};
    char url[128];
    long status = 0;
    CURLcode code;
    int r;

    if (!docker->socket[0] || cb_clock_boot_ns() < docker->engine_again_ns)
        return cb_err_set(err, ENOENT, "no engine");
    if (!docker->curl)
        docker->curl = curl_easy_init();
    (void)snprintf(url, sizeof(url), "http://docker/containers/%s/json", answer->id);
    if (!docker->curl || !set_up_curl(docker, docker->curl, url) ||
        curl_easy_setopt(docker->curl, CURLOPT_TIMEOUT_MS, TIMEOUT_MS) != CURLE_OK ||
        curl_easy_setopt(docker->curl, CURLOPT_WRITEFUNCTION, take_reply) != CURLE_OK ||
        curl_easy_setopt(docker->curl, CURLOPT_WRITEDATA, &reply) != CURLE_OK)
        return cb_err_set(err, ENOMEM, "cannot set up an HTTP request");
    code = curl_easy_perform(docker->curl);
    (void)curl_easy_getinfo(docker->curl, CURLINFO_RESPONSE_CODE, &status);
    if (code == CURLE_OPERATION_TIMEDOUT) /* it hangs: not once for each container */
        docker->engine_again_ns = cb_clock_boot_ns() + RETRY_NS;
    if (code != CURLE_OK)
        r = cb_err_set(err, ECONNREFUSED, "no answer from %s: %s", docker->socket,
                       curl_easy_strerror(code));
    else if (status != 200 || !reply.text)
        r = cb_err_set(err, ENOENT, "%s answers %ld", docker->socket, status);
    else
        r = cb_container_text_docker(reply.text, reply.size, &answer->text, err);
    free(reply.text);
    return r;
}

static void look_up(struct cb_docker *docker, const struct question *question,
                    struct cb_docker_answer *answer)
{
    struct cb_err engine = {0};
    struct cb_err files = {0};
    char uid[CB_POD_UID_SIZE];

    answer->found = ask_engine(docker, answer, &engine) == 0 ||
                    cb_container_files_look_up(docker->root_fd, question->id, question->cgroup,
                                               &answer->text, &files) == 0;
    if (cb_cgroup_id_pod(question->cgroup, uid)) {
        cb_container_text_add_label(&answer->text, "io.kubernetes.pod.uid", uid);
        answer->found = true;
    }
    if (!answer->found)
        cb_log_limited(&docker->limit, 60 * CB_NS_PER_S, CB_LOG_DEBUG,
                       "container %.12s: no name: %s; %s", answer->id, engine.text, files.text);
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
    if (!docker->line_too_long && cb_docker_parse_rename(docker->line, docker->n_line, id)) {
        (void)pthread_mutex_lock(&docker->lock);
        (void)put_question(docker, id, "");
        (void)pthread_mutex_unlock(&docker->lock);
    }
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

/* Keep the stream going. Returns when to look after it again, in milliseconds. */
static int follow_events(struct cb_docker *docker)
{
    uint64_t now_ns = cb_clock_boot_ns();
    int running = 0;
    int left = 0;

    if (!docker->socket[0])
        return WAIT_MS;
    if (!docker->events && now_ns >= docker->events_again_ns)
        start_events(docker);
    if (!docker->events)
        return (int)((docker->events_again_ns - now_ns) / 1000000) + 1;
    (void)curl_multi_perform(docker->multi, &running);
    for (const CURLMsg *m; (m = curl_multi_info_read(docker->multi, &left));)
        if (m->msg == CURLMSG_DONE) {
            stop_events(docker);
            return (int)(RETRY_NS / 1000000);
        }
    return WAIT_MS;
}

/* ---- the thread ---- */

static void put_answer(struct cb_docker *docker, struct cb_docker_answer *answer)
{
    const uint64_t one = 1;

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
    (void)!write(docker->event_fd, &one, sizeof(one)); /* full: it is readable anyway */
}

static bool take_question(struct cb_docker *docker, struct question *ret_question, bool *ret_stop)
{
    bool any;

    (void)pthread_mutex_lock(&docker->lock);
    *ret_stop = docker->stop;
    any = docker->n_questions > 0;
    if (any) {
        *ret_question = docker->questions[docker->first];
        docker->first = (docker->first + 1) % QUESTIONS;
        docker->n_questions--;
    }
    (void)pthread_mutex_unlock(&docker->lock);
    return any;
}

static void *work(void *context)
{
    struct cb_docker *docker = context;

    for (;;) {
        int wait_ms = follow_events(docker);
        struct cb_docker_answer answer = {0};
        struct question question;
        bool stop;

        if (!take_question(docker, &question, &stop)) {
            if (stop)
                break;
            (void)curl_multi_poll(docker->multi, NULL, 0, wait_ms, NULL);
            continue;
        }
        if (stop)
            break;
        memcpy(answer.id, question.id, sizeof(answer.id));
        look_up(docker, &question, &answer);
        (void)pthread_mutex_lock(&docker->lock);
        put_answer(docker, &answer);
        (void)pthread_mutex_unlock(&docker->lock);
    }
    stop_events(docker);
    return NULL;
}

/* ---- the caller's side ---- */

static int parse_host(struct cb_docker *docker, const char *host, struct cb_err *err)
{
    if (!*host)
        return 0;
    if (strncmp(host, UNIX_SCHEME, strlen(UNIX_SCHEME)) != 0)
        return cb_err_set(err, EINVAL,
                          "Docker host '%s': only unix:///path can be asked for the containers of "
                          "this machine (--docker-host)",
                          host);
    host += strlen(UNIX_SCHEME);
    if (*host != '/' || strlen(host) >= sizeof(docker->socket))
        return cb_err_set(err, EINVAL, "Docker host 'unix://%s' is no absolute path of a socket",
                          host);
    (void)snprintf(docker->socket, sizeof(docker->socket), "%s", host);
    return 0;
}

int cb_docker_open(int root_fd, const char *host, struct cb_docker **ret_docker, struct cb_err *err)
{
    struct cb_docker *docker = calloc(1, sizeof(*docker));
    int r;

    if (!docker)
        return cb_err_set(err, ENOMEM, "out of memory");
    docker->root_fd = root_fd;
    docker->event_fd = -1;
    (void)pthread_mutex_init(&docker->lock, NULL);
    docker->events_since = time(NULL);
    docker->multi = curl_multi_init();
    docker->questions = calloc(QUESTIONS, sizeof(*docker->questions));
    r = docker->multi && docker->questions ? parse_host(docker, host, err)
                                           : cb_err_set(err, ENOMEM, "out of memory");
    if (r == 0) {
        docker->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (docker->event_fd < 0)
            r = cb_err_set(err, errno, "eventfd: %s", strerror(errno));
    }
    if (r == 0) {
        r = -pthread_create(&docker->thread, NULL, work, docker);
        docker->started = r == 0;
        if (r < 0)
            r = cb_err_set(err, -r, "cannot start a thread: %s", strerror(-r));
    }
    if (r < 0)
        (void)cb_docker_close(docker);
    else
        *ret_docker = docker;
    return r;
}

struct cb_docker *cb_docker_close(struct cb_docker *docker)
{
    if (!docker)
        return NULL;
    if (docker->started) {
        (void)pthread_mutex_lock(&docker->lock);
        docker->stop = true;
        (void)pthread_mutex_unlock(&docker->lock);
        (void)curl_multi_wakeup(docker->multi);
        (void)pthread_join(docker->thread, NULL);
    }
    if (docker->curl)
        curl_easy_cleanup(docker->curl);
    if (docker->multi)
        (void)curl_multi_cleanup(docker->multi);
    if (docker->event_fd >= 0)
        (void)close(docker->event_fd);
    for (size_t i = docker->next_answer; i < docker->n_answers; i++)
        cb_docker_answer_fini(&docker->answers[i]);
    free(docker->answers);
    free(docker->questions);
    (void)pthread_mutex_destroy(&docker->lock);
    free(docker);
    return NULL;
}

bool cb_docker_ask(struct cb_docker *docker, const char *id, const char *cgroup)
{
    bool room;

    (void)pthread_mutex_lock(&docker->lock);
    room = put_question(docker, id, cgroup);
    (void)pthread_mutex_unlock(&docker->lock);
    (void)curl_multi_wakeup(docker->multi);
    return room;
}

int cb_docker_fd(const struct cb_docker *docker)
{
    return docker->event_fd;
}

bool cb_docker_take(struct cb_docker *docker, struct cb_docker_answer *ret_answer)
{
    uint64_t count;
    bool any;

    (void)pthread_mutex_lock(&docker->lock);
    any = docker->next_answer < docker->n_answers;
    if (any) {
        *ret_answer = docker->answers[docker->next_answer++];
    } else {
        docker->n_answers = docker->next_answer = 0;
        (void)!read(docker->event_fd, &count, sizeof(count)); /* empty: nothing to clear */
    }
    (void)pthread_mutex_unlock(&docker->lock);
    return any;
}
