/* From lines to requests and sessions: what `UsageScan.take` in usage_scan.py does, which says why it is so. */
#include "scan.h"

#include <stdlib.h>
#include <string.h>

enum rank { RANK_COPY = 4, RANK_MAIN = 10, RANK_SIDECHAIN = 11, RANK_PROGRESS = 12, RANK_ASIDE = 13, RANK_NONE = 99 };

#define ANSWER "\"assistant\""
#define FOLDER "\"cwd\""
#define TIME "\"timestamp\""
#define IS(text, word) ((text)->length == sizeof(word) - 1 && same_bytes((text)->at, word, sizeof(word) - 1))

/* The answer whose further blocks may follow, in the run of lines at hand. */
struct run {
    const struct line *answered; /* NULL: none */
    size_t request;
    int64_t later; /* the time of its last block so far, UNKNOWN_TIME: none */
};

/* Who says something, where and when. */
struct seen {
    int64_t rank, at;
    struct text owner, agent;
    bool nested;
};

static bool is_said(const struct text *text) {
    return text->at != NULL && text->length > 0;
}

static bool same(const struct text *one, const struct text *other) {
    if (one->at == NULL || other->at == NULL) {
        return one->at == other->at;
    }
    return one->length == other->length && same_bytes(one->at, other->at, one->length);
}

static bool same_usage(const struct usage *one, const struct usage *other) {
    return one->present == other->present && one->input == other->input && one->output == other->output
        && one->write == other->write && one->read == other->read
        && one->created.present == other->created.present && one->created.five == other->created.five
        && one->created.hour == other->created.hour && one->tools.present == other->tools.present
        && one->tools.searches == other->tools.searches && same(&one->tier, &other->tier)
        && same(&one->speed, &other->speed) && same(&one->region, &other->region);
}

static bool is_aside(const struct text *agent) {
    static const char aside[] = "aside_question";
    return agent->length >= sizeof aside - 1 && same_bytes(agent->at, aside, sizeof aside - 1);
}

/* Joins what another line says of a request; false where two sessions claim it, which Python decides. */
static bool join(struct request *mine, const struct request *other) {
    if (mine->claimant != other->claimant && other->claimant != 0) {
        if (mine->claimant != 0) {
            return false;
        }
        mine->claimant = other->claimant;
    }
    bool closer = other->rank < mine->rank || (other->rank == mine->rank && other->at < mine->at);
    for (int i = 0; i < SAID; i++) {
        if (closer ? other->said[i] != 0 : mine->said[i] == 0) {
            mine->said[i] = other->said[i];
        }
    }
    if (closer) {
        mine->rank = other->rank;
        mine->at = other->at;
    }
    for (int i = 0; i <= COUNTS; i++) {
        mine->counts[i] = other->counts[i] > mine->counts[i] ? other->counts[i] : mine->counts[i];
    }
    mine->last_at = other->last_at > mine->last_at ? other->last_at : mine->last_at;
    for (int i = 0; i < MARKS; i++) {
        bool most = i == MARK_SYNTHETIC || i == MARK_ENDED;
        mine->marks[i] = most ? mine->marks[i] | other->marks[i] : mine->marks[i] & other->marks[i];
    }
    return true;
}

static void describe(struct facts *facts, struct request *request, const struct saying *said, const struct seen *seen) {
    const struct usage *usage = &said->message.usage;
    const struct text *texts[SAID] = {
        &seen->owner, &seen->agent, &said->message.model, &usage->tier, &usage->speed, &usage->region,
        &said->branch, &said->skill, &said->server,
    };
    const int64_t counts[COUNTS + 1] = {
        usage->input, usage->output, usage->write, usage->created.five, usage->created.hour, usage->read,
        usage->tools.searches, said->cost,
    };
    const bool aside = is_aside(&seen->agent), main = seen->rank == RANK_MAIN || seen->rank == RANK_MAIN + RANK_COPY;
    *request = (struct request){.rank = seen->rank, .at = seen->at};
    for (int i = 0; i < SAID; i++) {
        request->said[i] = i == SAID_AGENT && aside ? 0 : strings_number(&facts->strings, texts[i]);
    }
    memcpy(request->counts, counts, sizeof counts);
    request->claimant = seen->rank < RANK_ASIDE ? request->said[SAID_SESSION] : 0;
    request->last_at = seen->at == UNKNOWN_TIME ? 0 : seen->at;
    request->marks[MARK_SIDECHAIN] = !main;
    request->marks[MARK_NESTED] = seen->nested;
    request->marks[MARK_REPLAY] = aside;
    request->marks[MARK_SYNTHETIC] = IS(&said->message.model, "<synthetic>");
    request->marks[MARK_ENDED] = is_said(&said->message.stop_reason);
}

/* Notes an answer; `place` is then its request's. */
static bool answer(struct facts *facts, const struct saying *said, const struct seen *seen, size_t *place) {
    const struct text *key = &said->message.id;
    key = is_said(key) ? key : is_said(&said->request) ? &said->request : &said->uuid;
    if (!is_said(key)) {
        return false;
    }
    struct request made;
    describe(facts, &made, said, seen);
    made.key = strings_number(&facts->strings, key);
    struct string *name = &facts->strings.all[made.key];
    if (name->request_mark == facts->file_mark) {
        *place = name->request;
        return join(&facts->requests[*place], &made);
    }
    if (facts->request_count == facts->request_room) {
        facts->request_room = facts->request_room * 2 + 256;
        facts->requests = grown(facts->requests, facts->request_room, sizeof *facts->requests);
    }
    *place = facts->request_count++;
    facts->requests[*place] = made;
    name->request = (uint32_t)*place;
    name->request_mark = facts->file_mark;
    return true;
}

static bool progress(struct facts *facts, const struct progress *data, const struct seen *outer) {
    size_t place;
    struct seen seen = {RANK_PROGRESS, outer->at, outer->owner, data->agent, true};
    if (!IS(&data->type, "agent_progress") || !IS(&data->line.type, "assistant") || !data->line.message.present) {
        return true;
    }
    if (is_said(&data->line.timestamp) && !time_read(&data->line.timestamp, &seen.at)) {
        return false;
    }
    return answer(facts, &data->line, &seen, &place);
}

/* Notes a line of a session; false where a file names too many to be one of the client's. */
static bool see(struct facts *facts, const struct seen *seen, const struct text *cwd) {
    uint32_t name = strings_number(&facts->strings, &seen->owner);
    struct session *session = facts->sessions, *end = session + facts->session_count;
    while (session < end && session->name != name) {
        session++; /* a file has one or two */
    }
    if (session == end) {
        if (facts->session_count == SESSION_LIMIT) {
            return false;
        }
        if (facts->session_count == facts->session_room) {
            facts->session_room = facts->session_room * 2 + 16;
            facts->sessions = grown(facts->sessions, facts->session_room, sizeof *facts->sessions);
        }
        session = &facts->sessions[facts->session_count++];
        *session = (struct session){name, 0, RANK_NONE, UNKNOWN_TIME, 0};
    }
    if (session->last < seen->at && seen->at != UNKNOWN_TIME) {
        session->last = seen->at;
    }
    bool closer = seen->rank < session->rank || (seen->rank == session->rank && seen->at < session->at);
    if (is_said(cwd) && closer) {
        session->rank = seen->rank;
        session->at = seen->at;
        session->cwd = strings_number(&facts->strings, cwd);
    }
    return true;
}

static void finish(struct facts *facts, struct run *run) {
    if (run->answered != NULL && run->later != UNKNOWN_TIME && facts->requests[run->request].last_at < run->later) {
        facts->requests[run->request].last_at = run->later;
    }
    run->later = UNKNOWN_TIME;
}

static bool goes_on(const struct run *run, const struct line *line) {
    const struct saying *said = &line->said;
    const struct message *message = &said->message;
    return run->answered != NULL && message->present && same(&message->id, &run->answered->said.message.id)
        && same_usage(&message->usage, &run->answered->said.message.usage) && IS(&said->type, "assistant")
        && line->sidechain == run->answered->sidechain && !is_said(&message->stop_reason);
}

static struct seen seen_of(const struct facts *facts, const struct line *line, struct text *session) {
    *session = is_said(&line->session) ? line->session : facts->session_hint;
    struct seen seen = {RANK_MAIN, UNKNOWN_TIME, *session, facts->agent_hint, false};
    if (is_said(&line->agent)) {
        seen.agent = line->agent;
    }
    if (is_said(&seen.agent) || line->sidechain == FLAG_TRUE) {
        seen.rank = is_said(&seen.agent) && is_aside(&seen.agent) ? RANK_ASIDE : RANK_SIDECHAIN;
    }
    bool forked = line->fork.present && is_said(&line->fork.session);
    const struct text *origin = forked ? &line->fork.session : &line->asker;
    if (is_said(origin) && !same(origin, session)) {
        seen.owner = *origin;
        seen.rank += RANK_COPY;
    }
    return seen;
}

/* Takes the line that begins at `at`; returns its line feed, or NULL for a file to leave alone. */
static const uint8_t *take_line(struct facts *facts, struct run *run, const uint8_t *at) {
    const int free_place = run->answered == &facts->lines[0];
    struct line *line = &facts->lines[free_place];
    const struct saying *said = &line->said;
    const uint8_t *end = line_read(at, line, &facts->arenas[free_place]);
    int64_t time;
    if (end == NULL || !time_read(&said->timestamp, &time)) {
        return NULL;
    }
    if (goes_on(run, line)) {
        run->later = time;
        return end;
    }
    finish(facts, run);
    struct text session;
    struct seen seen = seen_of(facts, line, &session);
    seen.at = time;
    if (is_said(&seen.owner) && !see(facts, &seen, &line->cwd)) {
        return NULL;
    }
    bool by_role = said->type.at == NULL && IS(&said->message.role, "assistant");
    if (said->message.present && (IS(&said->type, "assistant") || by_role)) {
        if (!answer(facts, said, &seen, &run->request)) {
            return NULL;
        }
        bool followed = said->message.id.at != NULL && same(&seen.owner, &session);
        run->answered = followed ? line : NULL;
    } else if (IS(&said->type, "progress") && line->data.present && line->data.line.present) {
        return progress(facts, &line->data, &seen) ? end : NULL;
    }
    return end;
}

void facts_begin(struct facts *facts, const struct text *session_hint, const struct text *agent_hint) {
    facts->request_count = facts->session_count = 0;
    facts->file_mark++;
    facts->session_hint = *session_hint;
    facts->agent_hint = *agent_hint;
}

bool facts_take(struct facts *facts, const uint8_t *data, size_t length) {
    const uint8_t *end = data + length;
    struct run run = {NULL, 0, UNKNOWN_TIME};
    const uint8_t *at = search(data, end, FOLDER, sizeof FOLDER - 1);
    if (at != NULL && take_line(facts, &run, line_start(data, at)) == NULL) {
        return false;
    }
    for (at = data; (at = search(at, end, ANSWER, sizeof ANSWER - 1)) != NULL;) {
        at = take_line(facts, &run, line_start(data, at));
        if (at == NULL) {
            return false;
        }
    }
    at = search_back(data, end, TIME, sizeof TIME - 1);
    if (at != NULL && take_line(facts, &run, line_start(data, at)) == NULL) {
        return false;
    }
    finish(facts, &run);
    return true;
}

void facts_free(struct facts *facts) {
    strings_free(&facts->strings);
    free(facts->requests);
    free(facts->sessions);
}
