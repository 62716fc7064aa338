#!/usr/bin/env python3
"""The dashboard in a real browser: each page, wide and narrow, light and dark, by mouse, by keyboard and without script.

    infra/ui/check.py [--bin FOLDER] [--pictures FOLDER] [--readme FILE.png] [--tasks N]

Needs `chromium` on the PATH and `npm`, which brings axe-core. Ends with 75 if one of them is not there: then nothing was tested.
"""

import argparse
import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from browser import Browser  # noqa: E402
from scene import Server, alarm, furnish, mean_harm, now, screened  # noqa: E402

AXE = 'axe-core@4.14.1'
NOT_TESTED = 75
SCREENS = [('wide', 1280, 900, 'light'), ('dark', 1280, 900, 'dark'), ('narrow', 360, 740, 'light'), ('narrow-dark', 360, 740, 'dark')]
PAGES = ['', '/queues', '/tasks', '/tasks?status=failed&type=render', '/workers', '/workers/gpu-2', '/workers/cpu-1', '/groups', '/schedules', '/limits',
         '/alerts', '/projects', '/tokens', '/audit', '/settings', '/settings/log.level', '/find?id=ffffffff', '/no-such-page']
#: The most of a page and of all that it loads.
BYTES = 150_000


def give_up(why):
    print(f'!!! NOT TESTED: the dashboard in a browser: {why}', file=sys.stderr)
    sys.exit(NOT_TESTED)


def axe(folder):
    if shutil.which('npm') is None:
        give_up('there is no npm, which brings axe-core')
    got = subprocess.run(['npm', 'install', '--prefix', folder, '--no-audit', '--no-fund', '--ignore-scripts', AXE],
                         capture_output=True, text=True, check=False)
    if got.returncode != 0:
        give_up(f'axe-core cannot be had: {got.stderr.strip()[-300:]}')
    with open(f'{folder}/node_modules/axe-core/axe.min.js', encoding='utf-8') as source:
        return source.read()


class Check:
    def __init__(self, browser, server, source, pictures):
        self.browser, self.server, self.axe, self.pictures = browser, server, source, pictures
        self.wrong = []
        self.slowest = (0, '')
        self.heaviest = (0, '')

    def expect(self, holds, otherwise):
        if not holds:
            self.wrong.append(otherwise)
            print(f'  wrong: {otherwise}')

    def page(self, path, screen):
        """Looks at a page as it was loaded."""
        name, width, _, _ = screen
        where = f'{path} ({name})'
        browser = self.browser
        over = browser.run('document.documentElement.scrollWidth - innerWidth')
        self.expect(over <= 0, f'{where} is {over} pixels wider than the screen')
        browser.run(self.axe + '; 1')
        found = browser.run('axe.run(document, {resultTypes: ["violations"]}).then(r => r.violations.map(v => v.id + ": " + v.help + " at " '
                            '+ v.nodes.slice(0, 3).map(n => n.target.join(" ") + " " + (n.any[0] || n.all[0] || {}).message).join("; ")))')
        for violation in found:
            self.expect(False, f'{where}: {violation}')
        times = browser.run('''(() => { const paint = performance.getEntriesByName("first-contentful-paint")[0];
            const all = [performance.getEntriesByType("navigation")[0], ...performance.getEntriesByType("resource")];
            return [paint ? paint.startTime : 0, all.reduce((sum, one) => sum + one.decodedBodySize, 0)]; })()''')
        self.slowest = max(self.slowest, (times[0], where))
        self.heaviest = max(self.heaviest, (times[1], where))
        self.expect(times[1] < BYTES, f'{where} weighs {times[1]} bytes with what it loads')
        if self.pictures:
            file = path.strip('/').replace('/', '-').replace('?', '-').replace('&', '-').replace('=', '-')[:40] or 'overview'
            browser.picture(f'{self.pictures}/{file}-{name}.png', whole=True)

    def all_pages(self, shown):
        paths = PAGES + [f'/find?id={shown["completed"][:8]}'] + [f'/tasks/{id}' for what, id in shown.items() if what != 'bulk'] + [f'/bulk/{shown["bulk"]}']
        for screen in SCREENS:
            self.browser.screen(*screen[1:])
            for path in paths:
                self.browser.go(f'{self.server.address}/ui{path}')
                self.page(path, screen)
            self.browser.go(f'{self.server.address}/ui/tasks?queue=thumbs')
            self.browser.click('form.bulk button[value=cancel]')
            self.expect('tasks that can be cancelled' in self.browser.run('document.querySelector("main").textContent'),
                        'a bulk command is not asked about')
            self.page('/bulk/confirm', screen)

    def alerts(self):
        """The alert of the scene fires on its page, and its webhook is told of as one that takes nothing."""
        browser = self.browser
        browser.go(f'{self.server.address}/ui/alerts')
        for part, told in [('firing', 'tasks wait in queue thumbs'), ('rules', 'deep'), ('webhooks', 'failing')]:
            shown = browser.run(f'document.querySelector("#{part}").textContent')
            self.expect(told in shown, f'the page of alerts does not tell {told} in {part}: {shown[:200]}')

    def calm(self):
        """A status that changes is marked by motion; who has asked for less motion sees none at all, on any page."""
        browser, address = self.browser, self.server.address
        for calm in [False, True]:
            browser.screen(1280, 900, 'light', calm=calm)
            task = self.server.call('POST', '/v1/tasks', {'type': 'still', 'queue': 'still'})['id']
            browser.go(f'{address}/ui/tasks/{task}')
            browser.wait(lambda: browser.run('document.querySelector("#how").textContent') == 'Live.', 'a page does not hear of events')
            browser.run('window.moved = 0; for (const kind of ["animationstart", "transitionrun"]) addEventListener(kind, () => { moved += 1; }); 1')
            self.server.call('POST', f'/v1/tasks/{task}/cancel')
            browser.wait(lambda: 'cancelled' in browser.run('document.querySelector("#status").textContent'), 'a status does not change by itself')
            end = time.monotonic() + 0.5
            while time.monotonic() < end:
                browser.hear(0.1)
            moved = browser.run('moved')
            self.expect((moved == 0) == calm, f'a status changed with {moved} animations, and {"no" if calm else "some"} motion was asked for')
        for path in PAGES:
            browser.go(f'{address}/ui{path}')
            moving = browser.run('''document.getAnimations().length + [...document.querySelectorAll("*")].filter(one => {
                const style = getComputedStyle(one);
                return style.animationName !== "none" || style.transitionDuration.split(",").some(time => parseFloat(time) > 0);
            }).length''')
            self.expect(moving == 0, f'{path}: {moving} things move though less motion was asked for')
        browser.screen(1280, 900, 'light')

    def video(self):
        """A video and a small text that a task has put out show on its page, and the video can be played there."""
        browser = self.browser
        browser.screen(1280, 900, 'light')
        browser.go(f'{self.server.address}/ui')
        clip = browser.run('''new Promise((done) => {
            const canvas = document.createElement("canvas");
            canvas.width = canvas.height = 64;
            const pen = canvas.getContext("2d");
            let frames = 0;
            const paint = setInterval(() => { pen.fillStyle = frames++ % 2 ? "teal" : "navy"; pen.fillRect(0, 0, 64, 64); }, 40);
            const recorder = new MediaRecorder(canvas.captureStream(25), { mimeType: "video/webm" });
            const parts = [];
            recorder.ondataavailable = (event) => parts.push(event.data);
            recorder.onstop = () => {
                clearInterval(paint);
                const reader = new FileReader();
                reader.onload = () => done(reader.result.split(",")[1]);
                reader.readAsDataURL(new Blob(parts));
            };
            recorder.start();
            setTimeout(() => recorder.stop(), 800);
        })''')
        task = screened(self.server, base64.b64decode(clip))
        for screen in SCREENS:
            browser.screen(*screen[1:])
            browser.go(f'{self.server.address}/ui/tasks/{task}')
            browser.wait(lambda: browser.run('document.querySelector("video").readyState') > 0, 'a video cannot be read')
            self.expect('"shots": [1, 2]' in browser.run('document.querySelector(".files pre").textContent'), 'a small text does not show')
            self.page('/tasks/with-files', screen)
        played = browser.run('(() => { const one = document.querySelector("video"); one.muted = true; return one.play().then(() => "plays", String); })()')
        self.expect(played == 'plays', f'a video cannot be played: {played}')

    def settle(self):
        """What has gone wrong on pages since it was asked last."""
        own = self.server.address
        for address in self.browser.requests:
            self.expect(address.startswith((own, 'data:', 'about:')), f'a page asked another server: {address}')
        for trouble in self.browser.troubles:
            # The picture of the scene has no pixels, and a page and a task that are not there are asked for on purpose.
            if 'no-such-page' not in trouble and 'id=ffffffff' not in trouble and not any(status in trouble for status in ['401', '403', '422']):
                self.expect(False, trouble)
        self.browser.requests.clear()
        self.browser.troubles.clear()

    def sign_in(self):
        browser, address = self.browser, self.server.address
        browser.go(f'{address}/ui/tasks')
        self.expect('/ui/sign-in?next=' in browser.run('location.href'), 'who has not signed in sees a page')
        self.page('/sign-in', SCREENS[0])
        browser.run('document.querySelector("#token").value = "baton_wrong"; 1')
        browser.click('main button')
        self.expect(browser.run('document.querySelector("[role=alert]") !== null'), 'a wrong token is not told')
        browser.run(f'document.querySelector("#token").value = {json.dumps(self.server.token)}; 1')
        browser.click('main button')
        self.expect(browser.run('location.pathname') == '/ui/tasks', f'signing in leads to {browser.run("location.href")}')
        self.expect(browser.run('document.cookie') == '', 'a script can read the cookie')

    def failures(self):
        """What failed is told in words, in sum and for each hour, beside what was done."""
        browser = self.browser
        browser.go(f'{self.server.address}/ui')
        told = browser.run('document.querySelector("#done dl").textContent')
        self.expect('attempts failed' in told, f'the overview does not tell how many attempts failed: {told}')
        titles = browser.run('[...document.querySelectorAll("#done svg title")].map(one => one.textContent).join("; ")')
        self.expect(titles.count('attempts failed') == 24, f'an hour does not tell in words what failed: {titles[:200]}')
        hours = self.server.call('GET', '/v1/stats')['hours']
        self.expect(sum(hour['failed'] for hour in hours) > 0, 'no attempt of the scene has failed')

    def keyboard(self, shown):
        """A task is cancelled by keys alone, and the focus shows at each step."""
        browser = self.browser
        browser.screen(1280, 900, 'light')
        browser.go(f'{self.server.address}/ui/tasks/{shown["blocked"]}')
        browser.key('Tab', 'Tab', 9)
        self.expect(browser.run('document.activeElement.className') == 'skip', 'the first stop is not the skip link')
        self.expect(browser.run('document.activeElement.getBoundingClientRect().width') > 20, 'the skip link does not show')
        browser.key('Enter', 'Enter', 13, '\r')
        for _ in range(40):
            browser.key('Tab', 'Tab', 9)
            width = browser.run('getComputedStyle(document.activeElement).outlineWidth + getComputedStyle(document.activeElement).outlineStyle')
            self.expect(not width.startswith('0px') and 'none' not in width,
                        f'the focus does not show on {browser.run("document.activeElement.outerHTML.slice(0, 80)")}')
            if browser.run('document.activeElement.matches("summary")'):
                break
        browser.key('Enter', 'Enter', 13, '\r')
        browser.key('Tab', 'Tab', 9)
        browser.ask('Input.insertText', text='by keys')
        before = browser.loaded
        browser.key('Enter', 'Enter', 13, '\r')
        browser.wait(lambda: browser.loaded > before, 'the form cannot be sent by keys')
        told = self.server.call('GET', f'/v1/tasks/{shown["blocked"]}')
        self.expect(told['task']['status'] == 'cancelled', 'a task cannot be cancelled by keys')
        self.expect(told['history'][-1].get('reason') == 'by keys', 'the reason is lost')

    def setting(self):
        """A setting is changed after a question; a value that does not fit is refused where it was typed."""
        browser, key = self.browser, 'retention.log_hours'
        kept = lambda: self.server.call('GET', f'/v1/config/{key}')['setting'].get('stored', {}).get('value')  # noqa: E731
        browser.screen(1280, 900, 'light')
        browser.go(f'{self.server.address}/ui/settings/{key}')
        typed = lambda value: browser.run(f'document.querySelector("#value").value = {json.dumps(value)}; 1')  # noqa: E731
        typed('never')
        browser.click('form.stack button')
        self.expect('hours' in browser.run('(document.querySelector("[role=alert]") || {}).textContent || ""'), 'a bad value is not refused on its page')
        self.expect(browser.run('document.querySelector("#value").value') == 'never', 'what was typed is lost')
        self.page(f'/settings/{key}, refused', SCREENS[0])
        typed('12')
        browser.click('form.stack button')
        self.expect(kept() is None, 'a setting is changed before it was asked about')
        self.page(f'/settings/{key}/confirm', SCREENS[0])
        browser.click('form.stack button')
        self.expect(kept() == '12', 'a setting is not changed')
        self.expect(browser.run('location.pathname') == f'/ui/settings/{key}', 'a change leads elsewhere')
        browser.click('form.stack button[name=do]')
        browser.click('form.stack button')
        self.expect(kept() is None, 'a setting is not unset')

    def without_script(self, shown):
        browser = self.browser
        browser.ask('Emulation.setScriptExecutionDisabled', value=True)
        browser.go(f'{self.server.address}/ui/tasks/{shown["blocked"]}')
        browser.ask('Emulation.setScriptExecutionDisabled', value=False)
        # The page was loaded without its script; what clicks below is no part of it.
        self.expect(browser.run('document.querySelector("#pause").hidden'), 'the script has run')
        browser.run('document.querySelector("details.act").open = true; 1')
        browser.click('details.act button')
        told = self.server.call('GET', f'/v1/tasks/{shown["blocked"]}')
        self.expect(told['task']['status'] in ['blocked', 'queued'], 'without script a task cannot be put back')

    def live(self):
        """What changes shows by itself; not while somebody is at work there, and not once it was stopped."""
        browser = self.browser
        browser.go(f'{self.server.address}/ui/queues')
        browser.wait(lambda: browser.run('document.querySelector("#how").textContent') == 'Live.', 'a page does not hear of events')
        text = 'document.querySelector("#list").textContent'
        self.server.call('POST', '/v1/tasks', {'type': 'late', 'queue': 'brand-new'})
        # Less than the time after which it looks without being told.
        end = time.monotonic() + 3
        while 'brand-new' not in browser.run(text) and time.monotonic() < end:
            browser.hear(0.2)
        self.expect('brand-new' in browser.run(text), 'a page is not told of what happens')
        browser.run('document.querySelector("#pause").click(); 1')
        browser.wait(lambda: browser.run('1') == 1, '')
        self.expect(browser.run('document.querySelector("#pause").getAttribute("aria-pressed")') == 'true', 'refreshing cannot be stopped')
        self.expect(browser.run('document.querySelector("#how").textContent') == '', 'a page that was stopped says that it is live')

    def moving(self):
        """Of a task that runs, progress and new log lines show within seconds, though no event tells of them."""
        browser = self.browser
        task = self.server.call('POST', '/v1/tasks', {'type': 'render', 'queue': 'moving'})['id']
        self.server.call('POST', '/v1/claims', {'worker_id': 'gpu-3', 'queues': ['moving'], 'max_tasks': 1})
        browser.go(f'{self.server.address}/ui/tasks/{task}')
        browser.wait(lambda: browser.run('document.querySelector("#how").textContent') == 'Live.', 'a page does not hear of events')
        # The look that follows upon that is over.
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            browser.hear(0.1)
        before, since = browser.loaded, len(browser.requests)
        self.server.call('POST', '/v1/workers/gpu-3/heartbeat', {
            'running': [{'task_id': task, 'attempt': 1, 'progress': 0.75, 'message': 'lit'}],
            'logs': [{'at': now(), 'level': 'info', 'source': 'x', 'message': 'the lamp is on', 'task_id': task}]})
        text = 'document.querySelector("#now").textContent + document.querySelector("#history").textContent'
        told = lambda: all(part in browser.run(text) for part in ['75 %', 'lit', 'the lamp is on'])  # noqa: E731
        end = time.monotonic() + 4
        while not told() and time.monotonic() < end:
            browser.hear(0.2)
        self.expect(told(), f'progress and log lines do not show within 4 s: {browser.run(text)[:200]}')
        self.expect(browser.loaded == before, 'the page was loaded again')
        asked = [address for address in browser.requests[since:] if f'/ui/tasks/{task}' in address]
        self.expect(asked and all('part=moving' in address for address in asked), f'more than what moves was asked for: {asked}')
        self.expect(browser.run('document.querySelector("#facts dd") !== null'), 'what was not asked for is gone')

    def deaf(self):
        """Where a page cannot hear of events, it looks by itself, and says so."""
        browser = self.browser
        browser.ask('Network.setBlockedURLs', urls=['*/ui/events*'])
        browser.go(f'{self.server.address}/ui/queues')
        self.server.call('POST', '/v1/tasks', {'type': 'late', 'queue': 'newer-still'})
        text = 'document.querySelector("#list").textContent'
        end = time.monotonic() + 20
        while 'newer-still' not in browser.run(text) and time.monotonic() < end:
            browser.hear(0.5)
        self.expect('newer-still' in browser.run(text), 'a page that hears nothing does not look again')
        self.expect(browser.run('document.querySelector("#how").textContent') not in ['', 'Live.'], 'a page that hears nothing does not say so')
        browser.ask('Network.setBlockedURLs', urls=[])
        # That it was blocked is on purpose.
        browser.troubles[:] = [trouble for trouble in browser.troubles if 'events' not in trouble and 'BLOCKED' not in trouble]

    def course(self):
        """What waits and runs is drawn once the server has noted it for two minutes, and told in words."""
        browser = self.browser
        for screen in SCREENS:
            browser.screen(*screen[1:])
            browser.go(f'{self.server.address}/ui')
            browser.wait(lambda: browser.run('document.querySelectorAll("#course polyline").length') >= 2, 'what waits and runs is not drawn', seconds=150)
            words = browser.run('[...document.querySelectorAll("#course svg")].map(one => one.getAttribute("aria-label")).join("; ")')
            self.expect('Tasks waiting from' in words and 'Tasks running from' in words, f'what waits and runs is not told in words: {words}')
            self.page('/, with what waits and runs', screen)

    def sign_out(self):
        self.browser.go(f'{self.server.address}/ui')
        self.browser.click('.who form[action="/ui/sign-out"] button')
        self.browser.go(f'{self.server.address}/ui')
        self.expect('/ui/sign-in' in self.browser.run('location.href'), 'signing out ends nothing')


def main():
    parse = argparse.ArgumentParser(description=__doc__.split('\n', maxsplit=1)[0])
    parse.add_argument('--bin', default='target/debug', help='the folder of the program baton')
    parse.add_argument('--pictures', help='a folder for a picture of each page')
    parse.add_argument('--readme', help='the file of the picture that the README shows')
    parse.add_argument('--tasks', type=int, default=2_000, help='how many tasks wait')
    asked = parse.parse_args()
    program = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
    if program is None:
        give_up('there is no chromium on the PATH (Debian: apt-get install chromium)')
    baton = os.path.abspath(f'{asked.bin}/baton')
    if asked.pictures:
        os.makedirs(asked.pictures, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        source = axe(folder)
        server = Server(baton, folder)
        browser = None
        try:
            shown = furnish(server, asked.tasks)
            browser = Browser(program, folder)
            browser.screen(1280, 900, 'light')
            check = Check(browser, server, source, asked.pictures)
            check.sign_in()
            if asked.readme:
                browser.screen(1100, 700, 'light')
                browser.go(f'{server.address}/ui')
                browser.picture(asked.readme)
            shown['hostile'] = mean_harm(server)
            alarm(server)
            check.all_pages(shown)
            check.alerts()
            check.video()
            check.failures()
            check.keyboard(shown)
            check.without_script(shown)
            check.setting()
            check.live()
            check.moving()
            check.calm()
            check.settle()
            check.deaf()
            check.settle()
            check.course()
            check.sign_out()
            check.settle()
            print(f'first paint at most {check.slowest[0]:.0f} ms, of {check.slowest[1]}; '
                  f'at most {check.heaviest[0]} bytes, of {check.heaviest[1]}; {asked.tasks} tasks wait')
        finally:
            if browser:
                browser.end()
            server.end()
    if check.wrong:
        print(f'{len(check.wrong)} things are wrong with the dashboard', file=sys.stderr)
        sys.exit(1)
    print('the dashboard is well in a browser')


if __name__ == '__main__':
    main()
