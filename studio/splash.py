"""The page before the studio is there: it says what is going on, and offers the one thing that may be needed."""

SPLASH = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>LoRA Tailor is starting</title>
<style>:root{color-scheme:light dark}
body{font:16px system-ui,sans-serif;display:grid;place-items:center;min-height:90vh;margin:0;padding:0 1rem}
main{text-align:center;max-width:36rem;overflow-wrap:anywhere}b{color:#0f766e}
button{font:inherit;padding:.6rem 1.1rem;border:1px solid #0f766e;border-radius:6px;background:#0f766e;color:#fff;
cursor:pointer}button:hover{background:#115e59}button:focus-visible{outline:3px solid #d97706;outline-offset:2px}
@media(prefers-color-scheme:dark){b{color:#2dd4bf}}</style></head>
<body><main><h1>LoRA <b>Tailor</b></h1><p role="status">Opening the studio. A few seconds.</p>
<form method="post" action="/rebuild" hidden><button>Rebuild the database from its folders</button></form></main>
<script>const said=document.querySelector("p"),form=document.querySelector("form");
const say=words=>{if(said.textContent!==words)said.textContent=words};
const offer=wanted=>{if(form.hidden!==wanted)return;form.hidden=!wanted;
if(wanted)document.querySelector("button").focus()};
form.addEventListener("submit",event=>{event.preventDefault();offer(false);
say("Rebuilding the database from its folders.");fetch("/rebuild",{method:"POST"}).catch(()=>{})});
setInterval(async()=>{try{const state=await (await fetch("/healthz")).json();
if("version" in state)location.reload();
else{if(state.message)say(state.message);offer(state.status==="damaged")}
}catch(e){}},WAIT)</script></body></html>"""
# So often the page asks how far the start is.
ASK_MILLISECONDS = 100


def page() -> bytes:
    """The page as it is sent."""
    return SPLASH.replace("WAIT", str(ASK_MILLISECONDS)).encode()
