<?xml version="1.0" encoding="UTF-8"?>
<ColorCorrection xmlns="urn:ASC:CDL:v1.2" id="evening">
  <SOPNode>
    <Description>Evening: warmer, a little darker, softer colours</Description>
    <Slope>1.06 0.99 0.90</Slope>
    <Offset>0.005 0.000 -0.005</Offset>
    <Power>1.08 1.08 1.06</Power>
  </SOPNode>
  <SatNode>
    <Saturation>0.92</Saturation>
  </SatNode>
</ColorCorrection>
