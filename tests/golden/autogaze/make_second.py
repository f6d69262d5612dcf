#!/usr/bin/env python3
"""A second AutoGaze configuration, and its results by a plain restatement in float64: patch 14, three scales, grouped-query
attention with an explicit head_dim, two convolution blocks over two frames, biases, no RoPE scaling, F16 weights, seed 3.
usage: make_second.py OUT_DIR [task_loss_requirement] [max_tokens=25]; numpy only. Prints the smallest margins of its decisions."""
import json,struct,os,numpy as np,sys
out=sys.argv[1]; os.makedirs(out,exist_ok=True)
rng=np.random.default_rng(3)
S,P=112,14; G=S//P; V=G*G; scales=[28,56,112]; grids=[s//P for s in scales]; N=sum(g*g for g in grids)
Cv,C,L,H,Hkv,D,I,K,depth,kt,ks=20,24,2,4,2,10,40,4,2,2,3
cfg={"model_type":"autogaze","scales":"+".join(map(str,scales)),"num_vision_tokens_each_frame":N,"max_num_frames":8,
"gazing_ratio_config":{"sample_strategy_during_inference":"fixed","fixed":{"gazing_ratio":0.3}},
"gaze_model_config":{"input_img_size":S,"vision_model_config":{"hidden_dim":Cv,"out_dim":C,"depth":depth,"kernel_size":P,"trunk_temporal_kernel_size":kt,"trunk_spatial_kernel_size":ks},
"connector_config":{"hidden_dim":C},"gaze_decoder_config":{"hidden_size":C,"intermediate_size":I,"num_hidden_layers":L,"num_attention_heads":H,"num_key_value_heads":Hkv,"head_dim":D,"num_multi_token_pred":K,"rms_norm_eps":1e-5,"attention_bias":True,"mlp_bias":True}}}
t={}
def r(n,*s,k=1.0): t["gazing_model."+n]=(rng.standard_normal(s)*k/np.sqrt(max(1,np.prod(s[1:])))).astype(np.float16)
def b(n,*s): t["gazing_model."+n]=(rng.standard_normal(s)*.1).astype(np.float16)
v="vision_model."; d="gaze_decoder."
r(v+"temporal_conv.weight",Cv,3,1,P,P); b(v+"temporal_conv.bias",Cv)
t["gazing_model."+v+"norm.weight"]=(1+.1*rng.standard_normal(Cv)).astype(np.float16); b(v+"norm.bias",Cv)
for i in range(depth): r(v+f"blocks.{i}.conv3d.weight",Cv,Cv,kt,ks,ks,k=1.5); b(v+f"blocks.{i}.conv3d.bias",Cv)
r(v+"out_proj.weight",C,Cv,1,1,1); b(v+"out_proj.bias",C); b("connector.pos_embed",V,C)
r(d+"model.embed_tokens.weight",N+1,C,k=5)
for l in range(L):
  p=d+f"model.layers.{l}."
  for n,o,i in (("self_attn.q_proj",H*D,C),("self_attn.k_proj",Hkv*D,C),("self_attn.v_proj",Hkv*D,C),("self_attn.o_proj",C,H*D),("mlp.gate_proj",I,C),("mlp.up_proj",I,C),("mlp.down_proj",C,I)):
    r(p+n+".weight",o,i,k=1.5); b(p+n+".bias",o)
  for n in ("input_layernorm","post_attention_layernorm"): t["gazing_model."+p+n+".weight"]=(1+.1*rng.standard_normal(C)).astype(np.float16)
t["gazing_model."+d+"model.norm.weight"]=(1+.1*rng.standard_normal(C)).astype(np.float16)
r(d+"lm_head.weight",K*(N+1),C,k=8); r(d+"task_loss_prediction_head.weight",K,C)
h={};o=0
for n in sorted(t): h[n]={"dtype":"F16","shape":list(t[n].shape),"data_offsets":[o,o+t[n].nbytes]}; o+=t[n].nbytes
j=json.dumps(h).encode(); j+=b" "*(-len(j)%8)
open(out+"/model.safetensors","wb").write(struct.pack("<Q",len(j))+j+b"".join(t[n].tobytes() for n in sorted(t)))
json.dump(cfg,open(out+"/config.json","w"))
# ---- restatement in float64
T={n[len("gazing_model."):]:a.astype(np.float64) for n,a in t.items()}
frames=[rng.standard_normal((3,S,S)).astype(np.float32) for _ in range(4)]
def conv2(x,w,bias,stride=1,pad=0):
    o,ci,kh,kw=w.shape; x=np.pad(x,((0,0),(pad,pad),(pad,pad))); oh=(x.shape[1]-kh)//stride+1; ow=(x.shape[2]-kw)//stride+1
    y=np.zeros((o,oh,ow))
    for a in range(kh):
        for c in range(kw):
            y+=np.einsum("oc,chw->ohw",w[:,:,a,c],x[:,a:a+stride*oh:stride,c:c+stride*ow:stride])
    return y+bias[:,None,None]
hist=[[np.zeros((Cv,G,G)) for _ in range(kt-1)] for _ in range(depth)]
def vision(x):
    y=conv2(x.astype(np.float64),T[v+"temporal_conv.weight"][:,:,0],T[v+"temporal_conv.bias"],P)
    m=y.mean(0); va=y.var(0); y=(y-m)/np.sqrt(va+1e-5)*T[v+"norm.weight"][:,None,None]+T[v+"norm.bias"][:,None,None]
    for i in range(depth):
        seq=hist[i]+[y]; hist[i]=seq[1:]
        w=T[v+f"blocks.{i}.conv3d.weight"]; z=sum(conv2(seq[k],w[:,:,k],np.zeros(Cv),1,ks//2) for k in range(kt))+T[v+f"blocks.{i}.conv3d.bias"][:,None,None]
        y=np.maximum(z,0)
    y=np.einsum("oc,chw->ohw",T[v+"out_proj.weight"][:,:,0,0,0],y)+T[v+"out_proj.bias"][:,None,None]
    return y.reshape(C,V).T+T["connector.pos_embed"]
def rms(x,w): return x/np.sqrt((x*x).mean(-1,keepdims=True)+1e-5)*w
f=10000.0**(-2*np.arange(D//2)/D)
def rope(x,pos):
    a=pos[:,None]*f; c,s=np.cos(a)[:,None],np.sin(a)[:,None]; x1,x2=x[...,:D//2],x[...,D//2:]
    return np.concatenate([x1*c-x2*s,x2*c+x1*s],-1)
cacheK=[np.zeros((0,Hkv,D)) for _ in range(L)]; cacheV=[np.zeros((0,Hkv,D)) for _ in range(L)]; valid=np.zeros(0,bool)
def run(x,pos,val):
    global valid
    base=len(valid); valid=np.concatenate([valid,val])
    M=len(x)
    for l in range(L):
        p=d+f"model.layers.{l}."; g=lambda n,y:y@T[p+n+".weight"].T+T[p+n+".bias"]
        n=rms(x,T[p+"input_layernorm.weight"])
        q=rope(g("self_attn.q_proj",n).reshape(M,H,D),pos); k=rope(g("self_attn.k_proj",n).reshape(M,Hkv,D),pos); vv=g("self_attn.v_proj",n).reshape(M,Hkv,D)
        cacheK[l]=np.concatenate([cacheK[l],k]); cacheV[l]=np.concatenate([cacheV[l],vv])
        o=np.zeros((M,H,D))
        for h_ in range(H):
            sc=q[:,h_]@cacheK[l][:,h_//(H//Hkv)].T/np.sqrt(D)
            idx=np.arange(len(valid))[None,:]; ok=(idx<=base+np.arange(M)[:,None])&valid[None,:]
            sc=np.where(ok,sc,-1e300); e=np.exp(sc-sc.max(-1,keepdims=True))*ok; o[:,h_]=(e/e.sum(-1,keepdims=True).clip(1e-300))@cacheV[l][:,h_//(H//Hkv)]
        x=x+g("self_attn.o_proj",o.reshape(M,H*D))
        n=rms(x,T[p+"post_attention_layernorm.weight"]); ga=g("mlp.gate_proj",n); x=x+(lambda y:y@T[p+"mlp.down_proj.weight"].T+T[p+"mlp.down_proj.bias"])(ga/(1+np.exp(-ga))*g("mlp.up_proj",n))
    hl=rms(x[-1],T[d+"model.norm.weight"])
    return (T[d+"lm_head.weight"]@hl).reshape(K,N+1), T[d+"task_loss_prediction_head.weight"]@hl
pend=[];pv=[];count=0;req=float(sys.argv[2]) if len(sys.argv)>2 else None; maxt=int(sys.argv[3]) if len(sys.argv)>3 else 25
res=[];margin=9;tm=9
for fr in frames:
    emb=vision(fr); pos=[]
    for q_ in pv: count+=q_; pos.append(count-1)
    for _ in range(V): count+=1; pos.append(count-1)
    x=np.concatenate([T[d+"model.embed_tokens.weight"][pend].reshape(-1,C),emb])
    logits,loss=run(x,np.array(pos,float),np.array(list(map(bool,pv))+[True]*V)); tail=pos[-K:]
    em=[];ev=[];forb=set();first=True
    while True:
        ch=[];cv=[];stop=False
        for k in range(K):
            if len(em)+len(ch)>=maxt or len(forb)>=N: stop=True;break
            row=logits[k,:N].copy(); row[list(forb)]=-np.inf; o_=np.sort(row); margin=min(margin,o_[-1]-o_[-2]); t_=int(row.argmax()); forb.add(t_)
            if req is not None:
                if not(first and k==0): tm=min(tm,abs(loss[k]-req))
            if req is not None and loss[k]<=req and not (first and k==0): ch.append(N);cv.append(0);stop=True
            else: ch.append(t_);cv.append(1)
        first=False; em+=ch;ev+=cv
        if stop or len(em)>=maxt: break
        logits,loss=run(T[d+"model.embed_tokens.weight"][ch],np.array(tail,float),np.ones(K,bool))
    # hide stops: they are all in the last chunk, which is processed next
    count+=sum(ev)-sum(cv); pend,pv=ch,cv
    res.append((em,ev,emb))
print("margin",margin,"loss margin",tm,"n",[len(r[0]) for r in res])
json.dump({"max_tokens":maxt,"task_loss_requirement":req,"frames":[{"tokens":r[0],"valid":r[1]} for r in res]},open(out+"/expected.json","w"))
a={"video":np.stack(frames),"vision_embeds":np.stack([r[2] for r in res]).astype(np.float32)}
h={};o=0
for n in a: h[n]={"dtype":"F32","shape":list(a[n].shape),"data_offsets":[o,o+a[n].nbytes]}; o+=a[n].nbytes
j=json.dumps(h).encode(); j+=b" "*(-len(j)%8)
open(out+"/expected.safetensors","wb").write(struct.pack("<Q",len(j))+j+b"".join(a[n].tobytes() for n in a))
